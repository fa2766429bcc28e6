package lab

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/conform/assess"
)

// Bounds of what waits to be stored, for all sessions.
const (
	maxWaiting      = 4096
	maxWaitingBytes = 64 << 20
)

// pause is the least time between two rounds of storing. What was captured since the
// last one is lost when the process is killed.
const pause = 25 * time.Millisecond

// captured is an exchange that has ended, as it was on the wire.
type captured struct {
	live     *live
	exchange *conform.Exchange
	traces   []string // ids of the decisions that its answer names
}

// inbox is where exchanges wait to be assessed and stored, so that nothing of that is
// done while a client waits.
type inbox struct {
	wake chan struct{}

	mu       sync.Mutex
	changed  *sync.Cond
	waiting  []captured
	bytes    int
	accepted uint64 // ever
	done     uint64 // of these
	closed   bool
}

func newInbox() *inbox {
	b := &inbox{wake: make(chan struct{}, 1)}
	b.changed = sync.NewCond(&b.mu)
	return b
}

// put adds an exchange; false: there is no room, and it is lost.
func (b *inbox) put(c captured) bool {
	n := size(c.exchange)
	b.mu.Lock()
	defer b.mu.Unlock()

	if b.closed || len(b.waiting) >= maxWaiting || b.bytes+n > maxWaitingBytes {
		return false
	}

	b.waiting = append(b.waiting, c)
	b.bytes += n
	b.accepted++

	select {
	case b.wake <- struct{}{}:
	default:
	}

	return true
}

func (b *inbox) take() []captured {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.waiting
	b.waiting, b.bytes = nil, 0

	// Each is put when its answer has ended, which another connection may see late.
	slices.SortStableFunc(all, func(a, b captured) int {
		return a.exchange.Received.Compare(b.exchange.Received)
	})
	return all
}

func (b *inbox) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiting)
}

func (b *inbox) finish(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done += uint64(n)
	b.changed.Broadcast()
}

func (b *inbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.changed.Broadcast()
}

// Flush returns when every exchange that has ended so far is stored, or is lost.
func (s *Service) Flush(ctx context.Context) error {
	b := s.inbox
	stop := context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.changed.Broadcast()
	})
	defer stop()

	b.mu.Lock()
	defer b.mu.Unlock()
	for until := b.accepted; b.done < until && !b.closed && ctx.Err() == nil; {
		b.changed.Wait()
	}

	return ctx.Err()
}

// record stores what arrives in the inbox until ctx ends, and then what is left.
func (s *Service) record(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-s.inbox.wake:
			time.Sleep(pause)
			s.keep(s.inbox.take())
		}
	}

	s.keep(s.inbox.take())
	s.inbox.close()
}

// keep assesses and stores exchanges, session by session.
func (s *Service) keep(all []captured) {
	defer s.inbox.finish(len(all))
	for len(all) > 0 {
		l := all[0].live
		var own []captured
		all = slices.DeleteFunc(all, func(c captured) bool {
			if c.live == l {
				own = append(own, c)
			}
			return c.live == l
		})

		if err := l.keep(own); err != nil && !errors.Is(err, ErrNoSession) {
			s.cfg.Log.Error("exchanges of a session of the lab were lost",
				"session", l.state().ID[:4],
				"exchanges", len(own),
				"cause", err)
		}
	}
}

// keep assesses and stores exchanges of the session.
func (l *live) keep(all []captured) error {
	ctx := context.Background()
	l.writing.Lock()
	defer l.writing.Unlock()

	if l.expired(l.service.cfg.Now()) {
		return ErrNoSession
	}

	before := l.state()
	kept, next, err := l.admit(ctx, before, all)
	if err == nil {
		err = l.service.cfg.Store.Append(ctx, next, exchangesOf(kept))
	}
	if err != nil {
		l.forget() // it may have seen what is not stored
		l.lose(len(all))
		return err
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	lost := l.session.Counts.Dropped - before.Counts.Dropped // meanwhile
	l.session.Counts, l.session.Used = next.Counts, next.Used
	l.session.Counts.Dropped += lost
	for _, k := range kept {
		l.publish(Update{Session: l.session, Kept: k})
	}
	if len(kept) == 0 {
		l.publish(Update{Session: l.session})
	}

	return nil
}

// admit numbers and assesses exchanges as far as there is room, and returns them with
// the session as it then is.
func (l *live) admit(
	ctx context.Context, before Session, all []captured,
) (kept []*Kept, next Session, err error) {
	l.assessing.Lock()
	defer l.assessing.Unlock()
	if err := l.assess(ctx); err != nil {
		return nil, Session{}, err
	}

	settings := l.service.cfg.Settings
	next = before
	for _, c := range all {
		n := int64(size(c.exchange))
		next.Used = c.exchange.Received
		full := next.Counts.Exchanges >= uint64(settings.Exchanges) || next.Counts.Bytes+n > settings.Size
		if full {
			next.Counts.Dropped++
			continue
		}

		next.Counts.Exchanges++
		next.Counts.Bytes += n
		e := l.finish(c, next.Counts.Exchanges)
		found := l.assessor.Add(e)
		l.assessments = append(l.assessments, found)
		kept = append(kept, &Kept{Exchange: e, Assessment: found})
	}

	return kept, next, nil
}

// finish gives an exchange its number, masks it, and adds what was decided about it.
func (l *live) finish(c captured, n uint64) *conform.Exchange {
	e := c.exchange
	e.N = n
	e.Step = assess.Classify(e.Method, e.Target, e.Request.Body)
	e.Traces = append(l.traces.take(c.traces), l.service.own.take(c.traces)...)
	mask(e)
	return e
}

func (l *live) lose(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.session.Counts.Dropped += uint64(n)
}

func exchangesOf(kept []*Kept) (all []*conform.Exchange) {
	for _, k := range kept {
		all = append(all, k.Exchange)
	}
	return all
}

// size is about how many bytes an exchange has in the store.
func size(e *conform.Exchange) int {
	n := len(e.Request.Head) + len(e.Request.Body) + len(e.Answer.Head) + len(e.Answer.Body)
	return n*4/3 + len(e.Target) + 4<<10
}
