package bolt

import (
	"context"
	"errors"
	"runtime/debug"
	"sync"

	"go.etcd.io/bbolt"
)

// batch is what a committer needs to know of a transaction that is being
// filled.
type batch interface {
	// changed reports whether anything was written since the last call.
	changed() bool
	// settle writes what was put off to the end of the transaction.
	settle() error
	// committed is called after the commit, before any caller is answered.
	committed()
}

// committer puts the work of all callers that wait into one transaction. There
// is no timer: while one commit is under way others queue up, and are the next
// one. Work that fails harms nobody else: see commit.
type committer[B batch] struct {
	db     *bbolt.DB
	file   string // its path; a closed file has none any more
	begin  func(*bbolt.Tx) B
	finish func(*bbolt.Tx) error // Tx.Commit
	most   int                   // callers in one transaction
	health *health
	wake   chan struct{}
	closed chan struct{} // the loop has ended
	pool   sync.Pool     // of *work[B]

	mu      sync.Mutex // guards the fields below, and work.state
	queue   []*work[B]
	closing bool
}

// work is one caller's part of a shared transaction. apply writes it; it may be
// called again, in another transaction, when others' work spoilt the first.
type work[B batch] struct {
	apply func(B) error
	err   error
	done  chan error
	state workState
}

type workState uint8

const (
	queued workState = iota
	begun
	abandoned // its caller has gone
)

func newCommitter[B batch](
	db *bbolt.DB, o Options, h *health, begin func(*bbolt.Tx) B,
) *committer[B] {
	c := &committer[B]{
		db:     db,
		file:   db.Path(),
		begin:  begin,
		finish: (*bbolt.Tx).Commit,
		most:   o.MaxBatch,
		health: h,
		wake:   make(chan struct{}, 1),
		closed: make(chan struct{}),
	}

	if o.commit != nil {
		c.finish = o.commit
	}
	c.pool.New = func() any {
		return &work[B]{done: make(chan error, 1)}
	}
	go c.loop()

	return c
}

// do queues one caller's work and waits until it is durable or has failed. A
// caller whose ctx ends leaves only while its work has not begun: what was
// begun is finished, so that the caller knows the outcome.
//
// An error that is a *commitError is of the commit; any other is apply's own,
// and then nothing of the work was stored.
func (c *committer[B]) do(ctx context.Context, apply func(B) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}

	w := c.pool.Get().(*work[B])
	w.apply, w.err, w.state = apply, nil, queued
	c.mu.Lock()
	if c.closing {
		c.mu.Unlock()
		return &commitError{
			file: c.file,
			err:  errClosed,
		}
	}

	c.queue = append(c.queue, w)
	c.mu.Unlock()
	c.nudge()

	var err error
	select {
	case err = <-w.done:
	case <-ctx.Done():
		if c.abandon(w) {
			return ctx.Err() // the loop still holds w: it does not go back to the pool
		}
		err = <-w.done
	}

	w.apply = nil
	c.pool.Put(w)
	return err
}

// abandon gives up work that has not begun.
func (c *committer[B]) abandon(w *work[B]) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.state != queued {
		return false
	}
	w.state = abandoned
	return true
}

func (c *committer[B]) nudge() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *committer[B]) loop() {
	defer close(c.closed)
	debug.SetPanicOnFault(true) // guard makes an error of it
	for range c.wake {
		for {
			batch, last := c.next()
			if len(batch) > 0 {
				c.commit(batch)
				continue
			}
			if last {
				return
			}

			break
		}
	}
}

// next removes the work that waits, up to the bound, from the queue.
func (c *committer[B]) next() (all []*work[B], closing bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.queue) > 0 && len(all) < c.most {
		w := c.queue[0]
		c.queue = c.queue[1:]
		if w.state == queued {
			w.state = begun
			all = append(all, w)
		}
	}

	return all, c.closing
}

// commit does all the work in one transaction, and answers. Work that fails
// before it has changed anything costs nothing. Work that fails later spoils
// the transaction: the rest is then done again without it, and each spoiler
// once more alone, since what it met may have been another's doing. So no work
// is done more than three times, however much of it fails.
func (c *committer[B]) commit(all []*work[B]) {
	spoilers, err := c.attempt(all)
	if len(spoilers) == 0 {
		answer(all, err)
		return
	}

	if rest := without(all, spoilers); len(rest) > 0 {
		again, err := c.attempt(rest)
		if len(again) == 0 {
			answer(rest, err)
		} else {
			spoilers = append(spoilers, rest...)
		}
	}

	for _, w := range spoilers {
		alone := []*work[B]{w}
		if again, err := c.attempt(alone); len(again) > 0 {
			w.done <- w.err
		} else {
			answer(alone, err)
		}
	}
}

// answer ends work: by its own error or, when the commit failed, by that.
func answer[B batch](all []*work[B], err error) {
	for _, w := range all {
		if err != nil {
			w.err = err
		}
		w.done <- w.err
	}
}

func without[B batch](all, some []*work[B]) []*work[B] {
	gone := make(map[*work[B]]bool, len(some))
	for _, w := range some {
		gone[w] = true
	}

	var rest []*work[B]
	for _, w := range all {
		if !gone[w] {
			rest = append(rest, w)
		}
	}

	return rest
}

// attempt does work in one transaction. If some of it spoils the transaction,
// that is returned and nothing is stored; else err is the commit's.
func (c *committer[B]) attempt(all []*work[B]) (spoilers []*work[B], err error) {
	tx, err := c.db.Begin(true)
	if err != nil {
		return nil, c.health.commit(&commitError{
			file: c.file,
			err:  err,
		})
	}
	defer func() { _ = tx.Rollback() }() // no effect after a commit

	b := c.begin(tx)
	for _, w := range all {
		w.err = c.guard(func() error { return w.apply(b) })
		if changed := b.changed(); w.err == nil || !changed && !isPanic(w.err) {
			continue
		}

		spoilers = append(spoilers, w)
		if isPanic(w.err) {
			break // Bolt may have been in the midst of something: this transaction serves nobody any more
		}
	}

	if len(spoilers) > 0 {
		return spoilers, nil
	}

	if err := c.guard(b.settle); err != nil {
		for _, w := range all {
			w.err = err
		}
		return all, nil
	}

	if err := c.guard(func() error {
		return c.finish(tx)
	}); err != nil {
		return nil, c.health.commit(&commitError{
			file:    c.file,
			err:     err,
			unknown: true,
		})
	}

	_ = c.health.commit(nil)
	b.committed()

	return nil, nil
}

func (c *committer[B]) guard(f func() error) error {
	return c.health.guard(c.file, f)
}

func isPanic(err error) bool {
	var p *panicked
	return errors.As(err, &p)
}

// close commits what is queued and ends the loop.
func (c *committer[B]) close() {
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	c.nudge()
	<-c.closed
}
