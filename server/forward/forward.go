// Package forward sends the audit record to collectors elsewhere. Each record is
// sent after it is stored, in order and at least once, and no request waits for it.
//
// Of several destinations that share a store, one sends the records of all to a
// collector, and the others wait until it ends or is cut off: then the next goes on
// where it was. Only what was under way at that moment is sent twice.
package forward

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// Place is where a record is.
type Place struct {
	Number   uint64 // each record has a higher one than the record before; 0 is the start
	Sequence uint64 // of the record among all that there ever were, of all chains; the first has 1
}

// Event is one record as it leaves.
type Event struct {
	Place
	Chain   string    // name of the destination that recorded it; empty where there is one alone
	InChain uint64    // place in its chain; the first has 1
	Time    time.Time // AuditEvent.recorded
	Outcome string    // AuditEvent.outcome: 0, 4, 8 or 12
	ID      string    // of the AuditEvent
	Body    []byte    // the AuditEvent as JSON, on one line
}

// Source has the records, and how far each collector has got. Both are durable.
type Source interface {
	// Lead reports whether this process is the one that sends to the collector of a
	// name. It is asked before each batch.
	Lead(ctx context.Context, name string) (bool, error)

	// After returns at most most events that come after a place, in order.
	After(ctx context.Context, place Place, most int) ([]Event, error)

	// Newest returns the place of the last stored record; the start if there is none.
	Newest(ctx context.Context) (Place, error)

	// Position returns what SavePosition stored last under a name; the start at first.
	Position(ctx context.Context, name string) (Place, error)

	// SavePosition returns when the position is on disk. A place before the one that
	// is stored has no effect.
	SavePosition(ctx context.Context, name string, place Place) error
}

// Collector accepts records.
type Collector interface {
	// Send returns how many of events, from the first on, the collector has
	// accepted for certain. It returns an error unless that is all of them. It
	// holds no connection or file once it has returned, and ends with ctx.
	Send(ctx context.Context, events []Event) (accepted int, err error)
}

// Busy is the error of a collector that asks to be left alone for a while.
type Busy struct {
	After time.Duration
	Err   error
}

func (b *Busy) Error() string { return b.Err.Error() }

func (b *Busy) Unwrap() error { return b.Err }

// Config is what a Forwarder works with.
type Config struct {
	Name      string // of the position, in the log and in metrics
	Source    Source
	Collector Collector
	Now       func() time.Time
	Log       *slog.Logger

	Poll  time.Duration // how often new records are looked for; 0 means 1 s
	Limit time.Duration // of one attempt; 0 means 30 s
	Pause time.Duration // after a first failure, doubled with each further one; 0 means 1 s
}

// Bounds of what is sent at once and of how long is waited.
const (
	maxEvents = 200
	maxBytes  = 1 << 20
	maxPause  = 5 * time.Minute
	maxBusy   = time.Hour
)

// State is how far a collector has got.
type State struct {
	Name     string    `json:"name"`
	Position uint64    `json:"position"`           // sequence of the last record that it accepted
	Lag      uint64    `json:"lag"`                // records that it lacks
	Missed   uint64    `json:"missed"`             // records that were too old to be kept before it accepted them
	Sent     uint64    `json:"sent"`               // records accepted since the start
	Failures uint64    `json:"failures"`           // attempts that failed since the start
	Since    time.Time `json:"since,omitzero"`     // time of the oldest record that it lacks; zero when it has all
	Problem  string    `json:"problem,omitzero"`   // why the last attempt failed; empty when it did not
	Next     time.Time `json:"nextTry,omitzero"`   // when it is tried again
	Accepted time.Time `json:"lastTaken,omitzero"` // when it last accepted something
	Waits    bool      `json:"waits,omitzero"`     // another destination sends
}

// Forwarder sends the records to one collector.
type Forwarder struct {
	cfg    Config
	loaded bool // the position was read
	at     Place
	size   int // of the next batch: halved by each failure, doubled by each success

	mu    sync.Mutex // guards state
	state State
}

// New returns a Forwarder. Run does its work.
func New(cfg Config) *Forwarder {
	for _, d := range []struct {
		p     *time.Duration
		usual time.Duration
	}{
		{&cfg.Poll, time.Second},
		{&cfg.Limit, 30 * time.Second},
		{&cfg.Pause, time.Second},
	} {
		if *d.p <= 0 {
			*d.p = d.usual
		}
	}

	return &Forwarder{
		cfg:   cfg,
		size:  maxEvents,
		state: State{Name: cfg.Name},
	}
}

// State returns how far the collector has got.
func (f *Forwarder) State() State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state
}

// Run sends what is stored, until ctx ends.
func (f *Forwarder) Run(ctx context.Context) {
	failures := 0
	for {
		more, err := f.step(ctx)
		wait := f.cfg.Poll
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			failures++
			wait = f.pause(failures, err)
			f.failed(err, wait)
		default:
			failures = 0
			if more {
				wait = 0
			}
		}

		if !sleep(ctx, wait) {
			return
		}
	}
}

// step sends one batch. more reports whether there may be another at once.
func (f *Forwarder) step(ctx context.Context) (more bool, err error) {
	leads, err := f.cfg.Source.Lead(ctx, f.cfg.Name)
	if err != nil {
		f.loaded = false // another may have led meanwhile
		return false, err
	}
	f.update(func(s *State) { s.Waits = !leads })
	if !leads {
		f.loaded = false // the one that sends moves it on
		f.update(func(s *State) { s.Problem = "" })
	}

	if !f.loaded {
		position, err := f.cfg.Source.Position(ctx, f.cfg.Name)
		if err != nil {
			return false, err
		}
		f.loaded, f.at = true, position
		f.update(func(s *State) { s.Position = position.Sequence })
	}
	if !leads {
		return false, f.measure(ctx, nil)
	}

	events, err := f.cfg.Source.After(ctx, f.at, f.size)
	if err != nil {
		return false, err
	}

	events = bounded(events)
	if err := f.measure(ctx, events); err != nil || len(events) == 0 {
		return false, err
	}
	return f.send(ctx, events)
}

// send sends a batch, and stores how far the collector has got before the next one.
func (f *Forwarder) send(ctx context.Context, events []Event) (more bool, err error) {
	limited, cancel := context.WithTimeout(ctx, f.cfg.Limit)
	defer cancel()
	accepted, err := f.cfg.Collector.Send(limited, events)

	if accepted > 0 {
		last := events[accepted-1].Place
		if failed := f.cfg.Source.SavePosition(ctx, f.cfg.Name, last); failed != nil {
			return false, errors.Join(failed, err)
		}
		f.accepted(events[:accepted])
	}

	if err != nil || accepted < len(events) {
		f.size = max(1, min(f.size, len(events))/2)
		if err == nil {
			err = errors.New("the collector did not accept all records")
		}
		return false, fmt.Errorf("record %s: %w", events[accepted].ID, err)
	}

	f.size = min(maxEvents, 2*f.size)
	return true, f.measure(ctx, nil)
}

// bounded returns the first events that make up at most maxBytes, at least one.
func bounded(events []Event) []Event {
	size := 0
	for i := range events {
		size += len(events[i].Body)
		if size > maxBytes && i > 0 {
			return events[:i]
		}
	}
	return events
}

// measure notes how far behind the collector is; events are the next that it gets.
func (f *Forwarder) measure(ctx context.Context, events []Event) error {
	newest, err := f.cfg.Source.Newest(ctx)
	if err != nil {
		return err
	}

	f.update(func(s *State) {
		s.Lag = 0
		if newest.Sequence > f.at.Sequence {
			s.Lag = newest.Sequence - f.at.Sequence
		}

		switch {
		case len(events) > 0:
			s.Since = events[0].Time
		case s.Lag == 0:
			s.Since = time.Time{}
			s.Problem = ""
			s.Next = time.Time{}
		}
	})
	return nil
}

// accepted notes what was accepted, and what had been removed before it.
func (f *Forwarder) accepted(events []Event) {
	now, before := f.cfg.Now(), f.at
	f.at = events[len(events)-1].Place
	f.update(func(s *State) {
		s.Position = f.at.Sequence
		s.Sent += uint64(len(events))
		s.Missed += events[0].Sequence - before.Sequence - 1
		s.Accepted = now
		s.Problem = ""
		s.Next = time.Time{}
	})
}

// failed notes why an attempt failed. The log has a line when the reason changes.
func (f *Forwarder) failed(err error, wait time.Duration) {
	next := f.cfg.Now().Add(wait)
	problem := err.Error()
	known := false
	f.update(func(s *State) {
		known = s.Problem == problem
		s.Failures++
		s.Problem = problem
		s.Next = next
	})

	if !known {
		f.cfg.Log.Warn("audit records could not be forwarded", "to", f.cfg.Name, "cause", err)
	}
}

func (f *Forwarder) update(change func(*State)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.state)
}

// pause is how long is waited after that many failures in a row: between half and
// all of a time that doubles, so that many servers do not come back together, and
// at least as long as the collector asked for.
func (f *Forwarder) pause(failures int, err error) time.Duration {
	whole := maxPause
	if doublings := failures - 1; doublings < 20 {
		whole = min(maxPause, f.cfg.Pause<<doublings)
	}

	wait := whole/2 + rand.N(whole/2+1)
	if busy := (*Busy)(nil); errors.As(err, &busy) {
		wait = max(wait, min(busy.After, maxBusy))
	}
	return wait
}

// sleep reports whether the time went by before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
