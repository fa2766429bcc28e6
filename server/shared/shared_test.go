package shared

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
)

var (
	errAway   = errors.New("cannot be reached")
	errSpoilt = errors.New("spoilt")
	errClosed = errors.New("closed")
)

// memory is a database whose transactions are sets of numbers.
type memory struct {
	stored map[int]bool
	begins int
	away   func(begins int) bool // whether a transaction cannot begin
}

type filling struct {
	wrote  bool
	wanted map[int]bool
	rows   map[int]bool
}

func (f *filling) Changed() bool {
	changed := f.wrote
	f.wrote = false
	return changed
}

func (f *filling) put(n int) {
	f.wrote = true
	f.rows[n] = true
}

func (m *memory) engine() Engine[*filling] {
	return Engine[*filling]{
		Begin: func() (*filling, error) {
			m.begins++
			if m.away != nil && m.away(m.begins) {
				return nil, errAway
			}
			return &filling{
				wanted: map[int]bool{},
				rows:   map[int]bool{},
			}, nil
		},
		Fetch: func(*filling) error { return nil },
		Commit: func(f *filling) error {
			for n := range f.rows {
				m.stored[n] = true
			}
			return nil
		},
		Rollback: func(*filling) {},
		Most:     100,
		Closed:   errClosed,
	}
}

// together has a committer do n pieces of work in one batch, and returns their errors:
// the first holds the loop until all the others are queued.
func together(c *Committer[*filling], n int, work func(i int, f *filling) error) []error {
	hold, held := make(chan bool), make(chan bool)
	var all sync.WaitGroup
	all.Go(func() {
		_ = c.Do(context.Background(), func(*filling) error {
			close(held)
			<-hold
			return nil
		})
	})
	<-held

	failed := make([]error, n)
	for i := range n {
		all.Go(func() {
			failed[i] = c.DoWanting(
				context.Background(),
				func(f *filling) { f.wanted[i] = true },
				func(f *filling) error { return work(i, f) },
			)
		})
	}
	for c.Waiting() < n {
		runtime.Gosched()
	}

	close(hold)
	all.Wait()
	return failed
}

// What work wants is known before any of it is done; work that fails after it has
// written harms nobody else.
func TestWorkSharesATransaction(t *testing.T) {
	m := &memory{stored: map[int]bool{}}
	c := New(m.engine())
	failed := together(c, 20, func(i int, f *filling) error {
		if !f.wanted[i] {
			return errors.New("not what was wanted")
		}
		f.put(i)
		if i%5 == 0 {
			return fmt.Errorf("%d: %w", i, errSpoilt)
		}
		return nil
	})
	c.Close()

	for i, err := range failed {
		if (i%5 == 0) != errors.Is(err, errSpoilt) || m.stored[i] != (err == nil) {
			t.Errorf("%d: %v, stored: %v", i, err, m.stored[i])
		}
	}
	if m.begins != 1+1+1+4 {
		t.Errorf("%d transactions", m.begins)
	}
	if err := c.Do(t.Context(), func(*filling) error { return nil }); !errors.Is(err, errClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// When the engine goes away, those who would be tried alone do not wait for it in turn.
func TestEngineGoesAway(t *testing.T) {
	m := &memory{
		stored: map[int]bool{},
		away:   func(begins int) bool { return begins > 2 },
	}
	c := New(m.engine())
	failed := together(c, 50, func(i int, f *filling) error {
		f.put(i)
		return errSpoilt
	})
	c.Close()

	for i, err := range failed {
		if !errors.Is(err, errAway) {
			t.Errorf("%d: %v", i, err)
		}
	}
	if m.begins != 3 || len(m.stored) != 0 {
		t.Errorf("%d transactions were begun, %d rows are stored", m.begins, len(m.stored))
	}
}

// Work that panics fails alone.
func TestWorkPanics(t *testing.T) {
	m := &memory{stored: map[int]bool{}}
	c := New(m.engine())
	failed := together(c, 3, func(i int, f *filling) error {
		f.put(i)
		if i == 1 {
			panic("no")
		}
		return nil
	})
	c.Close()

	for i, err := range failed {
		if IsPanic(err) != (i == 1) || m.stored[i] != (i != 1) {
			t.Errorf("%d: %v, stored: %v", i, err, m.stored[i])
		}
	}
}
