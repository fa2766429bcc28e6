package postgres

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"fhirdest.example/fhir"
)

// roundTrip bounds how long a batch of statements may take. A server that is stopped,
// or a network that drops packets, must not hold its callers for ever.
const roundTrip = 10 * time.Second

// session is one transaction. Its statements are sent in batches: the first together
// with the begin, so that a transaction of one batch is one round trip.
type session struct {
	db      *database
	options pgx.TxOptions
	// opening queues what is sent with the begin, before anything else, and opened is
	// called when that is done.
	opening func(*pgx.Batch)
	opened  func() error

	conn *pgxpool.Conn // nil: nothing was sent
	tx   pgx.Tx        // nil: not begun
	err  error         // the first; nothing is sent after it
}

// send sends a batch, and calls its functions with the results. An error is final, as
// the transaction has failed, unless it is a function's fhir.ErrDamaged.
func (s *session) send(ctx context.Context, b *pgx.Batch) error {
	if s.err != nil {
		return s.err
	}

	return s.bounded(ctx, func(ctx context.Context) error { return s.exchange(ctx, b) })
}

// copyIn sends rows by a statement COPY, in a transaction that has begun.
func (s *session) copyIn(ctx context.Context, sql string, rows []byte) error {
	return s.bounded(ctx, func(ctx context.Context) error {
		_, err := s.conn.Conn().PgConn().CopyFrom(ctx, bytes.NewReader(rows), sql)
		return err
	})
}

// bounded does a round trip, whose error is final but for a function's
// fhir.ErrDamaged.
func (s *session) bounded(ctx context.Context, trip func(context.Context) error) error {
	bounded, cancel := context.WithTimeout(ctx, roundTrip)
	defer cancel()
	err := trip(bounded)
	if err == nil || errors.Is(err, fhir.ErrDamaged) { // a row was read, and is not what it should be
		return err
	}

	s.err = failed(err)
	if ctx.Err() != nil {
		s.err = ctx.Err()
	}
	return s.err
}

func (s *session) exchange(ctx context.Context, b *pgx.Batch) (err error) {
	if s.tx != nil {
		return s.tx.SendBatch(ctx, b).Close()
	}
	if s.conn == nil {
		if s.conn, err = s.db.pool.Acquire(ctx); err != nil {
			return err
		}
	}

	first := &pgx.Batch{}
	first.BeginTx(s.options)
	s.opening(first)
	first.QueuedQueries = append(first.QueuedQueries, b.QueuedQueries...)
	results := s.conn.SendBatch(ctx, first)
	s.tx = results.Tx()
	if err = results.Close(); err == nil || errors.Is(err, fhir.ErrDamaged) {
		err = errors.Join(err, s.opened())
	}
	return err
}

// end ends a transaction that has only read. Its caller does not wait.
func (s *session) end() {
	if s.conn != nil {
		go s.rollback()
	}
}

// rollback ends a transaction that was not committed, and gives its connection back.
func (s *session) rollback() {
	if s.conn == nil {
		return
	}

	if s.tx != nil {
		ctx, cancel := context.WithTimeout(context.Background(), roundTrip)
		defer cancel()
		_ = s.tx.Rollback(ctx) // one that fails closes the connection; after a commit it has no effect
	}
	s.conn.Release()
	s.conn = nil
}

// commit commits. An error that is an oauth.ErrUnknown means that the outcome is not
// known.
func (s *session) commit() error {
	if s.err != nil {
		return s.err
	}

	ctx, cancel := context.WithTimeout(context.Background(), roundTrip)
	defer cancel()
	if err := s.db.commit(ctx, s.tx); err != nil {
		return commitFailed(err)
	}
	return nil
}
