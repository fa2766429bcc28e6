package postgres

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
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
		_, err := s.tx.Conn().PgConn().CopyFrom(ctx, bytes.NewReader(rows), sql)
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

	var over []*pgx.QueuedQuery
	if s.conn == nil {
		if s.conn = s.db.parked.remove(); s.conn != nil {
			over = []*pgx.QueuedQuery{{SQL: rollback}}
		} else if s.conn, err = s.db.acquire(ctx); err != nil {
			return err
		}
	}

	first := &pgx.Batch{}
	first.BeginTx(s.options)
	s.opening(first)
	first.QueuedQueries = slices.Concat(over, first.QueuedQueries, b.QueuedQueries)
	results := s.conn.SendBatch(ctx, first)
	s.tx = results.Tx()
	if err = results.Close(); err == nil || errors.Is(err, fhir.ErrDamaged) {
		err = errors.Join(err, s.opened())
	}
	return err
}

// end ends a transaction that has only read. Its caller does not wait.
func (s *session) end() {
	if s.conn == nil {
		return
	}
	if s.err == nil && s.db.parked.add(s.conn) {
		s.conn, s.tx = nil, nil
		return
	}
	go s.rollback()
}

const rollback = "rollback"

// parking has connections whose last transaction has only read and is over, but open.
// The next one sends its end with its own begin, which saves a round trip. Where none
// comes soon, a timer ends it.
type parking struct {
	waiting atomic.Int32 // callers of acquire: nothing is parked then

	mu  sync.Mutex // guards the field below
	all []*parked
}

type parked struct {
	conn  *pgxpool.Conn
	timer *time.Timer
}

// Bounds of what is parked.
const (
	maxParked = 4
	parkedFor = 2 * time.Millisecond
)

// add parks a connection, unless others wait for one.
func (p *parking) add(conn *pgxpool.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.all) >= maxParked || p.waiting.Load() > 0 {
		return false
	}

	one := &parked{conn: conn}
	one.timer = time.AfterFunc(parkedFor, func() { p.expire(one) })
	p.all = append(p.all, one)
	return true
}

// remove returns the connection that was parked last; nil when there is none.
func (p *parking) remove() *pgxpool.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.all) - 1
	if n < 0 {
		return nil
	}

	one := p.all[n]
	p.all = p.all[:n]
	one.timer.Stop() // when it is too late, expire does not find it
	return one.conn
}

// expire ends the transaction of a connection that is still parked.
func (p *parking) expire(one *parked) {
	p.mu.Lock()
	at := slices.Index(p.all, one)
	if at >= 0 {
		p.all = slices.Delete(p.all, at, at+1)
	}
	p.mu.Unlock()
	if at < 0 {
		return
	}

	ctx, cancel := context.WithTimeout(context.Background(), roundTrip)
	defer cancel()
	_, _ = one.conn.Exec(ctx, rollback) // a connection that it fails on is closed by Release
	one.conn.Release()
}

// acquire returns a connection of the pool.
func (d *database) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	d.parked.waiting.Add(1)
	defer d.parked.waiting.Add(-1)
	return d.pool.Acquire(ctx)
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
