package gateway

import (
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// longestRetry is how long an address is out at most, unless Times.Retry is longer.
const longestRetry = time.Minute

// endpoint is one address of a route's next hop. A Reload keeps it, as connections to it
// stay open.
type endpoint struct {
	endpointKey

	// open counts its connections, with those that are being made.
	open atomic.Int64

	// outage is guarded by endpoints.mu; it has no failures while the address accepts
	// connections.
	outage outage
}

// endpointKey identifies an endpoint in the metrics, and over reloads.
type endpointKey struct {
	route   string // its name
	address string // host:port
}

// outage is the time since an address last accepted a connection that it did not end
// without an answer.
type outage struct {
	out      bool
	failures int // since its last answer, that each doubled the time until the next attempt
	reason   string
	since    time.Time
	last     time.Time // attempt that failed
	due      time.Time // for the next one
	trying   bool      // the next one is under way
}

// endpoints guards the outages of all, and the turns of all routes. It is locked for a new
// connection, and not for a request.
type endpoints struct{ mu sync.Mutex }

// choose returns the address for a new connection on r, which is counted at once: of those
// that are in service, the one with the fewest connections, and of equal ones each in
// turn. When all are out, it is the one whose last failure was the longest ago, and last
// is true: no other is to be tried. Nil: all of them have been tried.
func (s *endpoints) choose(r *route, tried []*endpoint) (chosen *endpoint, last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()

	if len(r.endpoints) == 1 {
		chosen, last = r.endpoints[0], true
	} else if chosen = s.fewest(r, tried); chosen == nil {
		chosen, last = oldest(r, tried), true
	}

	if chosen == nil || slices.Contains(tried, chosen) {
		return nil, true
	}
	chosen.open.Add(1)
	return chosen, last
}

// fewest returns the endpoint in service that has the fewest connections, or nil. The
// caller holds mu.
func (s *endpoints) fewest(r *route, tried []*endpoint) (best *endpoint) {
	n := len(r.endpoints)
	next := r.turn

	for i := range n {
		at := (r.turn + i) % n
		e := r.endpoints[at]
		if e.outage.out || slices.Contains(tried, e) {
			continue
		}
		if best == nil || e.open.Load() < best.open.Load() {
			best = e
			next = at + 1
		}
	}

	r.turn = next % n
	return best
}

// fewestReady returns the index of the connection to use of those that are ready: the one
// that was made last, of those to the address that has the fewest.
func fewestReady(ready []preconnect) (best int) {
	for i := range ready {
		if ready[i].endpoint.open.Load() <= ready[best].endpoint.open.Load() {
			best = i
		}
	}
	return best
}

// oldest returns the endpoint whose last failure was the longest ago, or nil. The caller
// holds endpoints.mu.
func oldest(r *route, tried []*endpoint) (found *endpoint) {
	for _, e := range r.endpoints {
		if slices.Contains(tried, e) {
			continue
		}
		if found == nil || e.outage.last.Before(found.outage.last) {
			found = e
		}
	}
	return found
}

// failed notes that e did not accept a connection, and returns how long it is out now.
// Failures of attempts that were under way together double that time once.
func (s *endpoints) failed(e *endpoint, reason string, now time.Time, retry time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()

	o := &e.outage
	if !o.out {
		o.since = now
	}
	o.out, o.reason, o.last = true, reason, now
	if now.Before(o.due) {
		return o.due.Sub(now)
	}

	wait := retry << min(o.failures, 16)
	wait = min(wait, max(retry, longestRetry))
	o.failures++
	o.due = now.Add(wait)
	return wait
}

// accepted notes that e accepted a connection, the attempt at which began at a time, and
// returns the outage that this ended. An attempt that began before e last failed shows
// nothing: of many at once, each would bring it back for others to fail.
func (s *endpoints) accepted(e *endpoint, began time.Time) (ended outage) {
	s.mu.Lock()
	defer s.mu.Unlock()

	o := &e.outage
	if !o.out || began.Before(o.last) {
		return outage{}
	}
	ended, o.out = *o, false
	return ended
}

// proven notes that e gave an answer on a new connection: to accept one is not enough.
func (s *endpoints) proven(e *endpoint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !e.outage.out {
		e.outage = outage{trying: e.outage.trying}
	}
}

// out returns the outage of e.
func (s *endpoints) out(e *endpoint) outage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return e.outage
}

// tryDue returns the addresses of r that are to be tried again now, each until tried is
// called.
func (s *endpoints) tryDue(r *route, now time.Time) (list []*endpoint) {
	s.mu.Lock()
	defer s.mu.Unlock()

	for _, e := range r.endpoints {
		o := &e.outage
		if o.out && !o.trying && !now.Before(o.due) {
			o.trying = true
			list = append(list, e)
		}
	}
	return list
}

// tried ends an attempt that tryDue has begun.
func (s *endpoints) tried(e *endpoint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.outage.trying = false
}

// noteRefusal keeps and logs that e did not accept a connection.
func (g *Gateway) noteRefusal(r *route, e *endpoint, f *fault) {
	wait := g.endpoints.failed(e, f.why(), g.now(), g.state.Load().times.Retry)
	if !r.several() {
		return // the route's trouble has it all
	}
	g.dropReady(r, e)

	args := []any{"route", r.Name, "next", r.Next, "address", e.address, "reason", f.why(), "again", wait}
	if f.cause != nil {
		args = append(args, "error", f.cause)
	}
	g.warn("address "+r.Name+" "+e.address, "an address of a next hop is out", args...)
}

// noteAccepted notes that e accepted a connection.
func (g *Gateway) noteAccepted(r *route, e *endpoint, began time.Time) {
	before := g.endpoints.accepted(e, began)
	if before.out && r.several() {
		g.logCause(slog.LevelInfo, "again "+r.Name+" "+e.address, "an address of a next hop is in service again",
			"route", r.Name,
			"next", r.Next,
			"address", e.address,
			"since", before.since.UTC().Format(time.RFC3339))
	}
}

// tryOutages tries again the addresses that are out and whose time has come: no client
// waits for that, and there is one attempt at a time for each.
func (g *Gateway) tryOutages(t *table) {
	for _, r := range t.several {
		for _, e := range g.endpoints.tryDue(r, g.now()) {
			go g.try(r, e)
		}
	}
}

// try makes a connection to e and closes it again. It ends the outage when e keeps the
// connection open for a while: one that closes it would cost a client its answer.
func (g *Gateway) try(r *route, e *endpoint) {
	defer g.endpoints.tried(e)
	if g.janitor.draining.Load() || !g.ups.reserve(g.state.Load().maxUpstreams) {
		return
	}
	defer g.ups.release()

	var d deadline
	g.janitor.add(&d)
	defer g.janitor.remove(&d)

	e.open.Add(1)
	defer e.open.Add(-1)
	began := g.now()
	u, f := g.connect(r, e, &d, peers{})
	if f == nil {
		f = g.stays(u, &d)
		d.writes(&g.janitor, u.raw, lingerPause)
		u.tls.Close()
	}

	switch {
	case f == nil:
		g.noteAccepted(r, e, began)
	case f.ofNextHop():
		g.noteRefusal(r, e, f)
	}
}

// stays waits whether the next hop closes a new connection, or sends something unasked.
func (g *Gateway) stays(u *upstream, d *deadline) *fault {
	d.idles(&g.janitor, u.raw, lingerPause)
	_, err := u.tls.Read(make([]byte, 1))
	switch {
	case d.over():
		return nil
	case err == nil:
		return faultAnswer.because("it sends before it is asked", nil)
	}
	return faultClosed.because("it closes new connections", err)
}

// Outage is an address of a next hop that did not accept its last connection. Where the
// route has others, no connection is made to it until Next.
type Outage struct {
	Route, Address string
	Reason         string // in a few words
	Since, Next    time.Time
}

// Outages returns the addresses that are out, of the routes that have several.
func (g *Gateway) Outages() (list []Outage) {
	for _, r := range g.state.Load().table.several {
		for _, e := range r.endpoints {
			if o := g.endpoints.out(e); o.out {
				list = append(list, Outage{
					Route:   r.Name,
					Address: e.address,
					Reason:  o.reason,
					Since:   o.since,
					Next:    o.due,
				})
			}
		}
	}
	return list
}
