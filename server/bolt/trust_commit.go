package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"go.etcd.io/bbolt"

	"fhirdest.example/udap/trace"
)

// defaultMaxBatch bounds how many effects share one commit, so that the first of them
// does not wait long for the last.
const defaultMaxBatch = 2048

// errClosed is returned for what is handed in after Close.
var errClosed = errors.New("store: closed")

// effect is one caller's part of a shared transaction. apply writes it, or
// returns a *refusal before it has written anything; any other error undoes
// the whole transaction.
type effect struct {
	apply   func(*batch) error
	refused error
	done    chan error
}

// committer puts the effects of all who wait into one transaction. There is no
// timer: while one commit is under way others queue up, and are the next one.
type committer struct {
	db     *bbolt.DB
	most   int // effects in one transaction
	wake   chan struct{}
	closed chan struct{} // the loop has ended

	mu      sync.Mutex // guards the fields below
	queue   []*effect
	closing bool
}

// batch is one shared transaction while it is being filled.
type batch struct {
	tx      *bbolt.Tx
	minutes map[minuteBucket]*bbolt.Bucket
	changed map[trace.ClientID]bool // clients whose registration this transaction touches
	swept   bool
	after   []func() // done when the commit has succeeded, before anyone is answered
}

type minuteBucket struct {
	parent string
	minute uint32
}

func newCommitter(db *bbolt.DB, most int) *committer {
	if most == 0 {
		most = defaultMaxBatch
	}
	c := &committer{db: db, most: most, wake: make(chan struct{}, 1), closed: make(chan struct{})}
	go c.loop()
	return c
}

var effects = sync.Pool{New: func() any { return &effect{done: make(chan error, 1)} }}

// do hands in one effect and waits until it is durable or refused.
func (c *committer) do(apply func(*batch) error) error {
	e := effects.Get().(*effect)
	e.apply, e.refused = apply, nil
	c.mu.Lock()
	if c.closing {
		c.mu.Unlock()
		return errClosed
	}

	c.queue = append(c.queue, e)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}

	err := <-e.done
	e.apply = nil
	effects.Put(e)
	return err
}

func (c *committer) loop() {
	defer close(c.closed)
	for range c.wake {
		for {
			taken, last := c.take()
			if len(taken) > 0 {
				c.commit(taken)
				continue
			}
			if last {
				return
			}

			break
		}
	}
}

// take removes the waiting effects, up to the bound, from the queue.
func (c *committer) take() (taken []*effect, closing bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(len(c.queue), c.most)
	taken = c.queue[:n:n]
	c.queue = c.queue[n:]
	return taken, c.closing
}

func (c *committer) commit(taken []*effect) {
	err := c.write(taken)
	for _, e := range taken {
		if err == nil {
			e.done <- e.refused
		} else {
			e.done <- fmt.Errorf("store: commit: %w", err)
		}
	}
}

func (c *committer) write(taken []*effect) error {
	tx, err := c.db.Begin(true)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // no effect after a commit

	b := &batch{
		tx:      tx,
		minutes: make(map[minuteBucket]*bbolt.Bucket, 4),
		changed: map[trace.ClientID]bool{},
	}

	for _, e := range taken {
		e.refused = e.apply(b)
		if _, ok := e.refused.(*refusal); e.refused != nil && !ok {
			return e.refused
		}
	}

	if err := tx.Commit(); err != nil {
		return err
	}

	for _, f := range b.after {
		f()
	}
	return nil
}

// close commits what is queued and ends the loop.
func (c *committer) close() {
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
	<-c.closed
}

// refusal is an answer of an effect that wrote nothing, as against trouble
// with the file, for which the whole transaction must go.
type refusal struct {
	err    error
	spends bool // the jti is used up all the same
}

func (r *refusal) Error() string { return r.err.Error() }

func (r *refusal) Unwrap() error { return r.err }

// minute returns the bucket of one expiry minute. Keys in it only grow, so its
// pages are filled whole.
func (b *batch) minute(parent []byte, minute uint32) (*bbolt.Bucket, error) {
	id := minuteBucket{string(parent), minute}
	if m := b.minutes[id]; m != nil {
		return m, nil
	}

	m, err := b.tx.Bucket(parent).CreateBucketIfNotExists(binary.BigEndian.AppendUint32(nil, minute))
	if err != nil {
		return nil, err
	}

	m.FillPercent = 1
	b.minutes[id] = m
	return m, nil
}
