package gateway

import (
	"slices"
	"sync"
	"time"
)

// preconnectAge is how long an unused connection is kept, and how long after the last
// new client any are made: well below the time that a next hop waits for a head.
const preconnectAge = 3 * time.Second

// preconnected are unused connections of a route that have shaken hands already.
type preconnected struct {
	mu     sync.Mutex
	ready  []preconnect // oldest first
	making int
	closed bool // the route is no longer in force: nobody would use any
}

type preconnect struct {
	*upstream
	made time.Duration // by the janitor's clock
}

// preconnected returns an unused connection, or nil, and has more made.
func (g *Gateway) preconnected(r *route) *upstream {
	if r.Spares == 0 {
		return nil
	}

	s := &r.preconnected
	s.mu.Lock()
	defer s.mu.Unlock()
	defer g.preconnect(r)

	if len(s.ready) == 0 {
		return nil
	}

	at := fewestReady(s.ready)
	u := s.ready[at].upstream
	s.ready = slices.Delete(s.ready, at, at+1)
	g.metrics.spares.Add(1)
	return u
}

// preconnect begins to make what is missing, unless there are many already in all. The caller holds the lock.
func (g *Gateway) preconnect(r *route) {
	s := &r.preconnected
	missing := r.Spares - len(s.ready) - s.making
	if scarce := g.ups.count() > g.state.Load().maxUpstreams/2; missing > 0 && s.making == 0 &&
		!scarce {
		s.making = missing
		go g.preconnectNow(r, missing)
	}
}

// preconnectNow makes n connections, one after another, so that they never use more than
// one processor beside the clients that are being served.
func (g *Gateway) preconnectNow(r *route, n int) {
	var d deadline
	g.janitor.add(&d)
	defer g.janitor.remove(&d)

	s := &r.preconnected
	for ; n > 0; n-- {
		u, f := g.dial(r, &d, peers{})
		if f != nil && f.ofNextHop() {
			g.failed(r, f.endpoint, f)
		}

		s.mu.Lock()
		if f != nil || s.closed || g.janitor.draining.Load() {
			s.making = 0
			s.mu.Unlock()
			if u != nil {
				g.ups.close(u, false)
			}

			return
		}

		s.making--
		s.ready = append(s.ready, preconnect{u, g.janitor.clock()})
		s.mu.Unlock()
	}
}

// dropReady closes the unused connections of r to an address that is out now.
func (g *Gateway) dropReady(r *route, e *endpoint) {
	s := &r.preconnected
	s.mu.Lock()
	defer s.mu.Unlock()

	s.ready = slices.DeleteFunc(s.ready, func(p preconnect) bool {
		if p.endpoint != e {
			return false
		}
		g.ups.close(p.upstream, true)
		return true
	})
}

// closePreconnected closes the unused connections that are too old, or all, for good.
func (g *Gateway) closePreconnected(t *table, all bool) {
	for _, r := range t.preconnecting {
		s := &r.preconnected
		s.mu.Lock()
		s.closed = s.closed || all

		for len(s.ready) > 0 && (all || g.janitor.clock()-s.ready[0].made > preconnectAge) {
			g.ups.close(s.ready[0].upstream, false)
			s.ready = s.ready[1:]
		}

		s.mu.Unlock()
	}
}
