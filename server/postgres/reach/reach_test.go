package reach_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fhirdest.example/server/postgres/reach"
)

var errRefused = errors.New("connection refused")

// A server that answers is asked nothing; after a failure each caller learns how it is
// now, and the first success ends that.
func TestAwait(t *testing.T) {
	var asked atomic.Int64
	var away atomic.Bool
	m := reach.New(func(context.Context) error {
		asked.Add(1)
		if away.Load() {
			return errRefused
		}
		return nil
	}, 0)
	silent := 0
	m.OnSilence(func() { silent++ })

	if err := m.Await(t.Context()); err != nil || asked.Load() != 0 {
		t.Errorf("before anything failed: %v after %d probes", err, asked.Load())
	}
	away.Store(true)
	m.Lost(errRefused)
	<-m.Changes()
	for range 2 {
		if err := m.Await(t.Context()); !errors.Is(err, errRefused) || !errors.Is(m.Away(), errRefused) {
			t.Errorf("away: %v, %v", err, m.Away())
		}
	}
	if silent != 2 {
		t.Errorf("silence was reported %d times", silent)
	}

	away.Store(false)
	if err := m.Await(t.Context()); err != nil || m.Away() != nil || silent != 2 {
		t.Errorf("back: %v, %v, %d", err, m.Away(), silent)
	}
	<-m.Changes()
	before := asked.Load()
	if err := m.Await(t.Context()); err != nil || asked.Load() != before {
		t.Errorf("afterwards: %v after %d probes", err, asked.Load()-before)
	}
}

// Those who ask at the same time share a probe. A failure of one that began before a
// caller asked does not count for that caller: the server may be back since.
func TestProbesAreShared(t *testing.T) {
	var asked atomic.Int64
	begun, answer := make(chan struct{}), make(chan error)
	m := reach.New(func(context.Context) error {
		asked.Add(1)
		begun <- struct{}{}
		return <-answer
	}, 0)

	first := make(chan error)
	go func() { first <- m.Ask(t.Context()) }()
	<-begun
	var late sync.WaitGroup
	waiting := make(chan struct{}, 10)
	for range cap(waiting) {
		late.Go(func() {
			waiting <- struct{}{}
			if err := m.Ask(t.Context()); err != nil {
				t.Errorf("who asked when it was back: %v", err)
			}
		})
	}
	for range cap(waiting) {
		<-waiting
	}

	answer <- errRefused
	if err := <-first; !errors.Is(err, errRefused) {
		t.Errorf("who asked while it was away: %v", err)
	}
	for done := wait(&late); ; {
		select {
		case <-begun:
			answer <- nil
			continue
		case <-done:
		}
		break
	}
	if n := asked.Load(); n > 11 {
		t.Errorf("%d probes", n)
	}
}

func wait(g *sync.WaitGroup) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		g.Wait()
		close(done)
	}()
	return done
}

// A probe without an answer ends in time, as its callers do, and who leaves waits for
// nothing.
func TestProbesAreBounded(t *testing.T) {
	m := reach.New(func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}, 0)
	begun := time.Now()
	if err := m.Ask(t.Context()); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) < reach.Bound {
		t.Errorf("%v after %v", err, time.Since(begun))
	}

	gone, leave := context.WithCancel(t.Context())
	leave()
	if err := m.Await(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("who has left: %v", err)
	}
}

// A probe that has just failed counts for all who only need to know whether to try, but
// not for those who ask.
func TestRecentFailure(t *testing.T) {
	asked := 0
	m := reach.New(func(context.Context) error {
		asked++
		if asked == 1 {
			return errRefused
		}
		return nil
	}, time.Hour)
	m.Lost(errRefused)
	for range 3 {
		if err := m.Await(t.Context()); !errors.Is(err, errRefused) || asked != 1 {
			t.Errorf("%v after %d probes", err, asked)
		}
	}
	if err := m.Ask(t.Context()); err != nil || m.Await(t.Context()) != nil || asked != 2 {
		t.Errorf("asked: %v after %d probes", err, asked)
	}
}
