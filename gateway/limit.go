package gateway

import (
	"net/netip"
	"slices"
	"sync"
	"time"
)

// addresses counts what each client address has under way.
type addresses struct {
	mu  sync.Mutex
	all int
	by  map[netip.Addr]*address
}

// address is one client address, or for IPv6 one /64 network.
type address struct {
	key   netip.Addr
	conns int // guarded by addresses.mu

	// mu guards a token bucket and the requests that wait for it, first come first
	// served. While one waits, a timer is set for the first.
	mu     sync.Mutex
	tokens float64
	filled time.Time // when tokens was right
	rate   float64   // tokens a second
	burst  float64   // tokens at most
	queue  []*turn
	timed  bool // the timer is set
}

// turn is a request's place in the queue of its address.
type turn struct {
	come chan struct{} // closed when it may go on
	gone chan struct{} // closed when its client has gone
}

func (t *turn) giveUp() { close(t.gone) }

// keyOf is what an address is limited by: a /64 is one customer.
func keyOf(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return a
	}

	p, err := a.Prefix(64)
	if err != nil {
		return a
	}
	return p.Addr()
}

// admit counts a new connection in, or refuses it.
func (s *addresses) admit(from netip.Addr, l *Limits, now time.Time) (*address, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.enter(from, l, now)
}

// move counts a connection from one address over to another, or refuses and leaves it.
func (s *addresses) move(
	old *address, from netip.Addr, l *Limits, now time.Time,
) (*address, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all-- // it stays one connection
	a, ok := s.enter(from, l, now)
	if !ok {
		s.all++
		return nil, false
	}

	old.conns--
	return a, true
}

// enter is admit with mu held.
func (s *addresses) enter(from netip.Addr, l *Limits, now time.Time) (*address, bool) {
	key := keyOf(from)
	a := s.by[key]
	if l.Connections > 0 && s.all >= l.Connections || a != nil && l.ConnectionsPerAddress > 0 &&
		a.conns >= l.ConnectionsPerAddress {
		return nil, false
	}

	if a == nil {
		if s.by == nil {
			s.by = map[netip.Addr]*address{}
		}
		a = &address{
			key:    key,
			tokens: float64(max(l.Burst, 1)),
			filled: now,
		}
		s.by[key] = a
	}

	a.conns++
	s.all++
	return a, true
}

// leave counts a connection out. The address is forgotten later, when its tokens are
// full again: one that came back with a new connection for each request would else have
// no rate at all.
func (s *addresses) leave(a *address) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if a.conns--; a.conns == 0 && len(s.by) > maxIdleAddresses {
		delete(s.by, a.key)
	}
}

// maxIdleAddresses bounds the addresses that are remembered without a connection.
const maxIdleAddresses = 100_000

// forget removes the addresses that are no other than new ones.
func (s *addresses) forget(l *Limits, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, a := range s.by {
		if a.conns == 0 && a.full(l, now) {
			delete(s.by, key)
		}
	}
}

// full reports whether all that the address may have at once is there.
func (a *address) full(l *Limits, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if l.RequestsPerSecond <= 0 {
		return true
	}
	a.refill(l.RequestsPerSecond, l.Burst, now)
	return a.tokens >= a.burst
}

// count returns how many connections there are.
func (s *addresses) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all
}

// refill adds the tokens of the time that has passed. The caller holds mu.
func (a *address) refill(rate float64, burst int, now time.Time) {
	a.rate, a.burst = rate, float64(max(burst, 1))
	if passed := now.Sub(a.filled).Seconds(); passed > 0 {
		a.tokens += passed * rate
	}
	a.tokens = min(a.burst, a.tokens)
	a.filled = now
}

// acquire uses a token, or returns the place in the queue for one.
func (a *address) acquire(l *Limits, now func() time.Time) *turn {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refill(l.RequestsPerSecond, l.Burst, now())
	if len(a.queue) == 0 && a.tokens >= 1 {
		a.tokens--
		return nil
	}

	t := &turn{
		come: make(chan struct{}),
		gone: make(chan struct{}),
	}
	a.queue = append(a.queue, t)
	a.schedule(now)

	return t
}

// schedule sets the timer for the first in the queue. The caller holds mu.
func (a *address) schedule(now func() time.Time) {
	if a.timed {
		return
	}
	a.timed = true
	wait := time.Duration((1 - a.tokens) / a.rate * float64(time.Second))
	time.AfterFunc(max(wait, time.Microsecond), func() {
		a.serve(now)
	})
}

// serve gives tokens to the first in the queue.
func (a *address) serve(now func() time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.timed = false
	a.refill(a.rate, int(a.burst), now())

	for len(a.queue) > 0 && a.tokens >= 1 {
		a.tokens--
		close(a.queue[0].come)
		a.queue = a.queue[1:]
	}

	if len(a.queue) > 0 {
		a.schedule(now)
	}
}

// abandon gives up a place in the queue. A token that had come meanwhile goes back.
func (a *address) abandon(t *turn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if i := slices.Index(a.queue, t); i >= 0 {
		a.queue = slices.Delete(a.queue, i, i+1)
		return
	}
	a.tokens++
}

// awaitTurn holds a request back until its address has a token: it is not refused, as
// that would be a judgement of what passes. False: its client has gone.
func (x *exchange) awaitTurn() bool {
	x.deadline.rests()
	l := &x.state.limits
	if l.RequestsPerSecond <= 0 {
		return true
	}

	t := x.address.acquire(l, x.g.now)
	if t == nil {
		return true
	}

	x.g.metrics.delayed.Add(1)
	x.deadline.queues(t)
	defer x.deadline.rests()

	select {
	case <-t.come:
		return true
	case <-t.gone:
		x.address.abandon(t)
		return false
	case <-x.g.stopping:
		x.address.abandon(t)
		return true
	}
}
