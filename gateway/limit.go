package gateway

import (
	"net/netip"
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

	mu     sync.Mutex
	tokens float64
	filled time.Duration // when tokens was right, by the janitor's clock
}

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
func (s *addresses) admit(from netip.Addr, l *Limits, now time.Duration) (*address, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.enter(from, l, now)
}

// move counts a connection from one address over to another, or refuses and leaves it.
func (s *addresses) move(old *address, from netip.Addr, l *Limits, now time.Duration) (*address, bool) {
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
func (s *addresses) enter(from netip.Addr, l *Limits, now time.Duration) (*address, bool) {
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
		a = &address{key: key, tokens: float64(max(l.Burst, 1)), filled: now}
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

// forget lets go of the addresses that nothing is remembered of.
func (s *addresses) forget(l *Limits, now time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, a := range s.by {
		if a.conns == 0 && a.full(l, now) {
			delete(s.by, key)
		}
	}
}

// full: all that it may have at once is there, so that a new address is no other.
func (a *address) full(l *Limits, now time.Duration) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return l.RequestsPerSecond <= 0 || a.tokens+(now-a.filled).Seconds()*l.RequestsPerSecond >= float64(max(l.Burst, 1))
}

// count returns how many connections there are.
func (s *addresses) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all
}

// take takes a token and returns how long to wait before using it.
func (a *address) take(l *Limits, now time.Duration) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tokens = min(float64(max(l.Burst, 1)), a.tokens+(now-a.filled).Seconds()*l.RequestsPerSecond)
	a.filled = now
	a.tokens--
	if a.tokens >= 0 {
		return 0
	}
	return time.Duration(-a.tokens / l.RequestsPerSecond * float64(time.Second))
}

// wait holds a request back until its address has a token: it is not refused, as that
// would be a judgement of what passes.
func (a *address) wait(s *state, g *Gateway) {
	if s.limits.RequestsPerSecond <= 0 {
		return
	}

	d := a.take(&s.limits, g.janitor.clock())
	if d <= 0 {
		return
	}

	g.metrics.delayed.Add(1)
	t := time.NewTimer(d)
	defer t.Stop()

	select {
	case <-t.C:
	case <-g.stopping:
	}
}
