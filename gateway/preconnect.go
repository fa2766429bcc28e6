package gateway

import (
	"net/netip"
	"sync"
	"time"
)

// spareAge is how long an unused connection stands ready, and how long after the last
// new client any are made: well below the time that a next hop waits for a head.
const spareAge = 3 * time.Second

// spares are unused connections of a route that have shaken hands already.
type spares struct {
	mu     sync.Mutex
	ready  []spare // oldest first
	making int
	wanted time.Duration // when one was last asked for, by the janitor's clock
}

type spare struct {
	*upstream
	made time.Duration
}

// takeSpare returns an unused connection, or nil, and has more made.
func (g *Gateway) takeSpare(r *route) *upstream {
	if r.Spares == 0 {
		return nil
	}

	s := &r.spares
	s.mu.Lock()
	defer s.mu.Unlock()

	s.wanted = g.janitor.clock()
	defer g.makeSpares(r)
	if len(s.ready) == 0 {
		return nil
	}

	last := len(s.ready) - 1
	u := s.ready[last].upstream
	s.ready = s.ready[:last]
	g.metrics.spares.Add(1)
	return u
}

// makeSpares begins what is missing; with the lock held.
func (g *Gateway) makeSpares(r *route) {
	s := &r.spares
	if missing := r.Spares - len(s.ready) - s.making; missing > 0 && s.making == 0 {
		s.making = missing
		go g.makeSpare(r, missing)
	}
}

// makeSpare makes n spares, one after another, so that they never take more than one
// processor from those who are being served.
func (g *Gateway) makeSpare(r *route, n int) {
	var w watch
	g.janitor.add(&w)
	defer g.janitor.remove(&w)

	for ; n > 0; n-- {
		u, f := g.dial(r, &w, netip.AddrPort{}, netip.AddrPort{})
		r.spares.mu.Lock()
		if f != nil || g.janitor.draining.Load() {
			r.spares.making = 0
			r.spares.mu.Unlock()
			if u != nil {
				u.raw.Close()
			}
			return
		}

		r.spares.making--
		r.spares.ready = append(r.spares.ready, spare{u, g.janitor.clock()})
		r.spares.mu.Unlock()
	}
}

// dropSpares closes those that are too old, or all.
func (s *spares) drop(now time.Duration, all bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.ready) > 0 && (all || now-s.ready[0].made > spareAge) {
		s.ready[0].tls.Close()
		s.ready = s.ready[1:]
	}
}
