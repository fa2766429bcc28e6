// Package reach finds out whether a server answers, by probes that all who need to know
// share.
package reach

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// Bound is how long a server may need for the answer to a probe.
	Bound = 1500 * time.Millisecond
	// Patience is how long a caller of Ask or Await waits at most.
	Patience = 2 * time.Second

	// beat is how often the time that has passed is counted.
	beat = 100 * time.Millisecond
)

// budget is a time that passes only while this process runs. A machine that is busy may
// have it stand still for seconds, and afterwards nobody knows whether the answer was late.
type budget struct {
	*time.Ticker
	left time.Duration
	last time.Time
}

func newBudget(d time.Duration) *budget {
	return &budget{
		Ticker: time.NewTicker(beat),
		left:   d,
		last:   time.Now(),
	}
}

// spend counts a beat, and reports whether nothing is left.
func (b *budget) spend() bool {
	now := time.Now()
	b.left -= min(now.Sub(b.last), 2*beat)
	b.last = now
	return b.left <= 0
}

// Monitor is what is known of one server. Nothing goes on in it while nobody asks.
type Monitor struct {
	probe   func(context.Context) error
	recent  time.Duration
	away    atomic.Pointer[failure] // of the latest probe; nil: the server is believed to answer
	changes chan struct{}           // has one when away became nil or something else

	mu      sync.Mutex // guards the fields below
	running *run       // the probe under way; nil: there is none
	silent  []func()
}

// failure is why a server could not be reached.
type failure struct {
	err   error
	until time.Time // when it counts no longer without another probe
}

// run is one probe.
type run struct {
	done chan struct{} // closed at its end
	err  error
}

// New returns a monitor of a server that answers. probe asks it something, and returns an
// error when no answer came. It is called by one goroutine at a time, and its context ends
// after Bound. Await asks no more often than once in recent.
func New(probe func(context.Context) error, recent time.Duration) *Monitor {
	return &Monitor{
		probe:   probe,
		recent:  recent,
		changes: make(chan struct{}, 1),
	}
}

// Changes has something to receive when Away changed to nil or from it.
func (m *Monitor) Changes() <-chan struct{} { return m.changes }

func (m *Monitor) set(err error, valid time.Duration) {
	var next *failure
	if err != nil {
		next = &failure{
			err:   err,
			until: time.Now().Add(valid),
		}
	}
	if last := m.away.Swap(next); (last == nil) == (next == nil) {
		return
	}
	select {
	case m.changes <- struct{}{}:
	default: // nobody has received the last one
	}
}

// OnSilence has f called when a probe has failed, before anybody learns of it.
func (m *Monitor) OnSilence(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.silent = append(m.silent, f)
}

// Away returns why the server could not be reached when it was tried last; nil when it
// could.
func (m *Monitor) Away() error {
	if f := m.away.Load(); f != nil {
		return f.err
	}
	return nil
}

// Lost notes that the server could not be reached: the next Await asks first.
func (m *Monitor) Lost(err error) { m.set(err, 0) }

// Await returns nil when the server is believed to answer. Else it asks, unless a probe
// has just failed: work of many steps must not wait at each of them.
func (m *Monitor) Await(ctx context.Context) error {
	f := m.away.Load()
	if f == nil {
		return nil
	}
	if time.Now().Before(f.until) {
		return f.err
	}
	return m.Ask(ctx)
}

// Ask returns the result of a probe. One that was under way already counts if it
// succeeds; when it fails, the server may be back since it began, and another follows.
func (m *Monitor) Ask(ctx context.Context) error {
	patience := newBudget(Patience)
	defer patience.Stop()

	r, own := m.join(false)
	var last error
	for {
		select {
		case <-r.done:
			if last = r.err; last == nil || own {
				return last
			}
			r, own = m.join(true)
		case <-ctx.Done():
			return ctx.Err()
		case <-patience.C:
			if patience.spend() {
				return cmp.Or(last, context.DeadlineExceeded)
			}
		}
	}
}

// join returns the probe under way, or begins one. fresh reports whether it began after
// the caller did; again: so does any.
func (m *Monitor) join(again bool) (r *run, fresh bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running != nil {
		return m.running, again
	}

	m.running = &run{done: make(chan struct{})}
	go m.run(m.running)
	return m.running, true
}

func (m *Monitor) run(r *run) {
	r.err = m.bounded()

	m.mu.Lock()
	silent := m.silent
	m.mu.Unlock()
	if r.err != nil {
		for _, f := range silent {
			f()
		}
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	m.set(r.err, m.recent)
	m.running = nil
	close(r.done)
}

// bounded probes, for Bound at most.
func (m *Monitor) bounded() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- m.probe(ctx) }()

	left := newBudget(Bound)
	defer left.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-left.C:
			if !left.spend() {
				continue
			}
			cancel()
			if err := <-done; err != nil {
				return fmt.Errorf("%w: %v", context.DeadlineExceeded, err)
			}
			return nil
		}
	}
}
