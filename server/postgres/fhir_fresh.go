package postgres

import (
	"context"
	"sync"

	"github.com/jackc/pgx/v5"

	"fhirdest.example/fhir"
)

// freshness finds out which state of the database is the latest, for all callers that
// wait: a caller gets what a query returned that began after it had asked. There is no
// timer: while one query is under way the others wait together for the next.
type freshness struct {
	query func(context.Context) (numbers, error)

	mu      sync.Mutex // guards the fields below
	running bool
	next    *flight // that those who come now wait for; nil: none waits
}

// flight is one query and those who wait for it.
type flight struct {
	done    chan struct{} // closed at its end
	numbers numbers
	err     error
}

// get returns the numbers of a state that is not older than this call.
func (f *freshness) get(ctx context.Context) (numbers, error) {
	f.mu.Lock()
	mine := f.next
	if mine == nil {
		mine = &flight{done: make(chan struct{})}
		f.next = mine
	}
	first := !f.running
	f.running = true
	f.mu.Unlock()

	if first {
		go f.fly()
	}

	select {
	case <-mine.done:
		return mine.numbers, mine.err
	case <-ctx.Done():
		return numbers{}, ctx.Err()
	}
}

// fly queries until nobody waits.
func (f *freshness) fly() {
	for {
		f.mu.Lock()
		mine := f.next
		f.next = nil
		if mine == nil {
			f.running = false
			f.mu.Unlock()
			return
		}
		f.mu.Unlock()

		mine.numbers, mine.err = f.query(context.Background())
		close(mine.done)
	}
}

// latest reads the numbers, and brings the cache to their state.
func (s *FHIR) latest(ctx context.Context) (n numbers, err error) {
	ctx, cancel := context.WithTimeout(ctx, roundTrip)
	defer cancel()
	err = s.db.again(func() error {
		conn, err := s.db.acquire(ctx)
		if err != nil {
			return err
		}
		defer conn.Release()

		b := &pgx.Batch{}
		note := s.queueNumbers(b, &n)
		if err := conn.SendBatch(ctx, b).Close(); err != nil {
			return err
		}
		note()
		return nil
	})
	return n, err
}

// queueNumbers queues what reads the numbers of a state and what was changed since
// that of the cache. note brings the cache to it, once the batch is done.
func (s *FHIR) queueNumbers(b *pgx.Batch, n *numbers) (note func()) {
	since := s.cache.state()

	var changes []changed
	b.Queue("select n.docs, n.changes, n.written, n.epoch, n.tableoid, "+startedAt+", c.seq, c.doc, "+
		"(select terms from doc where doc.doc = c.doc), "+
		"(select value from setting where name = '"+fhir.IndexSetting+"'), "+
		"case when n.written <> $1 or $3 then "+
		"coalesce((select max(seq) from change where type = 'Consent'), 0) end from numbers n "+
		"left join lateral (select seq, doc from change where n.written > $1 and seq > $1 "+
		"and type <> 'AuditEvent' order by seq limit $2) c on true",
		int64(since.written), maxChanged+1, since.consents == 0).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var seq, doc, consents *uint64
			var x changed
			var rules []byte
			err := rows.Scan(
				&n.docs,
				&n.changes,
				&n.written,
				&n.epoch,
				&n.origin.table,
				&n.origin.started,
				&seq,
				&doc,
				(*[]byte)(&x.terms),
				&rules,
				&consents,
			)
			n.rules = string(rules)
			n.consents = since.consentsIn(*n, consents)
			if err != nil {
				return err
			}
			if seq != nil && doc != nil {
				x.seq, x.doc = *seq, *doc
				changes = append(changes, x)
			}
		}
		return rows.Err()
	})
	return func() { s.cache.advance(*n, changes) }
}

// consentsIn returns the number of the last change of a Consent in a state that was read
// since; found is nil where nothing was changed between them, if they are of one database.
func (n *numbers) consentsIn(latest numbers, found *uint64) uint64 {
	switch {
	case found != nil:
		return *found
	case latest.origin == n.origin:
		return n.consents
	}
	return 0
}
