// Package shared puts the work of callers that wait at the same time into one
// transaction, so that one commit makes the work of many durable. It knows nothing of
// the database: see Engine.
package shared

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
)

// Batch is one transaction while it is being filled.
type Batch interface {
	// Changed reports whether anything was written since the last call.
	Changed() bool
}

// Engine is a database as a Committer uses it. Its functions are called by one
// goroutine.
type Engine[B Batch] struct {
	// Begin begins a transaction.
	Begin func() (B, error)
	// Fetch reads what the work that shares a transaction wants, before any of it is
	// done; nil: nothing is read ahead.
	Fetch func(B) error
	// Settle writes what was put off to the end of the transaction. Its error harms
	// only the work that causes it. nil: nothing is put off.
	Settle func(B) error
	// Commit commits. Its error is that of everyone whose work was in the transaction.
	Commit func(B) error
	// Rollback ends a transaction that is not committed; after a commit it has no
	// effect.
	Rollback func(B)
	// Recovered returns the *Panicked for a value that was recovered from a panic, by
	// the function that has recovered it; nil: one without a cause.
	Recovered func(value any) *Panicked

	// Most bounds how many callers share a transaction.
	Most int
	// Closed is the error for work that arrives after Close.
	Closed error
}

// Committer does the work of all callers that wait in one transaction. There is no
// timer: while one commit is under way others queue up, and are the next one. Work
// that fails harms nobody else: see commit.
type Committer[B Batch] struct {
	engine Engine[B]
	wake   chan struct{}
	closed chan struct{} // the loop has ended
	pool   sync.Pool     // of *work[B]

	mu      sync.Mutex // guards the fields below, and work.state
	queue   []*work[B]
	closing bool
}

// work is one caller's part of a shared transaction.
type work[B Batch] struct {
	want  func(B) // may be nil
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

// New returns a committer, which ends with Close.
func New[B Batch](engine Engine[B]) *Committer[B] {
	c := &Committer[B]{
		engine: engine,
		wake:   make(chan struct{}, 1),
		closed: make(chan struct{}),
	}

	if c.engine.Recovered == nil {
		c.engine.Recovered = func(value any) *Panicked { return &Panicked{Value: value} }
	}
	c.pool.New = func() any {
		return &work[B]{done: make(chan error, 1)}
	}
	go c.loop()

	return c
}

// Do queues one caller's work and waits until it is durable or has failed. A caller
// whose ctx ends leaves only while its work has not begun: what was begun is finished,
// so that the caller knows the outcome.
//
// apply may be called again, in another transaction, when others' work spoilt the
// first: so it must set anew whatever it sets outside. An error of apply is returned
// as it is, and then nothing of the work was stored.
func (c *Committer[B]) Do(ctx context.Context, apply func(B) error) error {
	return c.DoWanting(ctx, nil, apply)
}

// DoWanting is Do for work that knows what it will read: want notes it in the batch,
// before the engine's Fetch.
func (c *Committer[B]) DoWanting(
	ctx context.Context, want func(B), apply func(B) error,
) error {
	if err := ctx.Err(); err != nil {
		return err
	}

	w := c.pool.Get().(*work[B])
	w.want, w.apply, w.err, w.state = want, apply, nil, queued
	c.mu.Lock()
	if c.closing {
		c.mu.Unlock()
		return c.engine.Closed
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

	w.want, w.apply = nil, nil
	c.pool.Put(w)
	return err
}

// abandon gives up work that has not begun.
func (c *Committer[B]) abandon(w *work[B]) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.state != queued {
		return false
	}
	w.state = abandoned
	return true
}

func (c *Committer[B]) nudge() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *Committer[B]) loop() {
	defer close(c.closed)
	debug.SetPanicOnFault(true) // for files that are mapped into memory; guard makes an error of it
	var room []*work[B]
	for range c.wake {
		for {
			batch, last := c.next(room)
			if len(batch) > 0 {
				c.commit(batch)
				room = batch[:0]
				continue
			}
			if last {
				return
			}

			break
		}
	}
}

// next moves the work that waits, up to the bound, from the queue to all.
func (c *Committer[B]) next(all []*work[B]) (batch []*work[B], closing bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := 0
	for taken < len(c.queue) && len(all) < c.engine.Most {
		w := c.queue[taken]
		taken++
		if w.state == queued {
			w.state = begun
			all = append(all, w)
		}
	}

	c.queue = slices.Delete(c.queue, 0, taken)
	return all, c.closing
}

// Waiting returns how many callers' work has not begun.
func (c *Committer[B]) Waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.queue)
}

// commit does all the work in one transaction, and answers. Work that fails
// before it has changed anything costs nothing. Work that fails later spoils
// the transaction: the rest is then done again without it, and each spoiler
// once more alone, since what it met may have been another's doing. So no work
// is done more than three times, however much of it fails.
func (c *Committer[B]) commit(all []*work[B]) {
	spoilers, _, err := c.attempt(all)
	if len(spoilers) == 0 {
		answer(all, err)
		return
	}

	if rest := without(all, spoilers); len(rest) > 0 {
		again, _, err := c.attempt(rest)
		if len(again) == 0 {
			answer(rest, err)
		} else {
			spoilers = append(spoilers, rest...)
		}
	}

	for i, w := range spoilers {
		alone := []*work[B]{w}
		again, began, err := c.attempt(alone)
		switch {
		case len(again) > 0:
			w.done <- w.err
		case began:
			answer(alone, err)
		default: // the engine cannot be reached: nobody waits for it in turn
			answer(spoilers[i:], err)
			return
		}
	}
}

// answer ends work: by its own error or, when the commit failed, by that.
func answer[B Batch](all []*work[B], err error) {
	for _, w := range all {
		if err != nil {
			w.err = err
		}
		w.done <- w.err
	}
}

func without[B Batch](all, some []*work[B]) []*work[B] {
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
// that is returned and nothing is stored; else err is that of the transaction, which
// did not begin or could not be committed.
func (c *Committer[B]) attempt(all []*work[B]) (spoilers []*work[B], began bool, err error) {
	b, err := c.engine.Begin()
	if err != nil {
		return nil, false, err
	}
	defer c.engine.Rollback(b)

	if err := c.fetch(b, all); err != nil {
		return nil, false, err
	}

	for _, w := range all {
		w.err = c.guard(func() error { return w.apply(b) })
		if changed := b.Changed(); w.err == nil || !changed && !IsPanic(w.err) {
			continue
		}

		spoilers = append(spoilers, w)
		if IsPanic(w.err) {
			break // the engine may have been in the midst of something: this transaction serves nobody any more
		}
	}

	if len(spoilers) > 0 {
		return spoilers, true, nil
	}

	if err := c.settle(b); err != nil {
		for _, w := range all {
			w.err = err
		}
		return all, true, nil
	}

	return nil, true, c.guard(func() error { return c.engine.Commit(b) })
}

func (c *Committer[B]) fetch(b B, all []*work[B]) error {
	if c.engine.Fetch == nil {
		return nil
	}

	for _, w := range all {
		if w.want != nil {
			w.want(b)
		}
	}
	return c.guard(func() error { return c.engine.Fetch(b) })
}

func (c *Committer[B]) settle(b B) error {
	if c.engine.Settle == nil {
		return nil
	}
	return c.guard(func() error { return c.engine.Settle(b) })
}

// Close commits what is queued and ends the loop.
func (c *Committer[B]) Close() {
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	c.nudge()
	<-c.closed
}

// Panicked is the error of work that panicked.
type Panicked struct {
	Value any
	Cause error // that the data are damaged, if it was that; else nil
}

func (p *Panicked) Error() string {
	if p.Cause != nil {
		return p.Cause.Error()
	}
	return fmt.Sprintf("store: update panicked: %v", p.Value)
}

func (p *Panicked) Unwrap() error { return p.Cause }

// IsPanic reports whether an error is a *Panicked.
func IsPanic(err error) bool {
	var p *Panicked
	return errors.As(err, &p)
}

// guard calls f, and returns a *Panicked when it panics: one request's must not end
// the others.
func (c *Committer[B]) guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = c.engine.Recovered(p)
		}
	}()

	return f()
}
