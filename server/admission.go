package server

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"fhirdest.example/udap"
)

// pool bounds how many requests are worked on at once. Each address and each
// client has a share of it, so that no single party can fill it; a request
// that exceeds a bound waits for a while in the order of arrival.
type pool struct {
	size       int
	perAddress int
	perClient  int
	wait       time.Duration

	mu      sync.Mutex
	used    int
	held    counts
	present counts    // held and waiting
	waiting []*waiter // the oldest first
}

// counts are numbers of requests by party.
type counts struct {
	addresses map[netip.Addr]int
	clients   map[string]int
}

func newCounts() counts {
	return counts{map[netip.Addr]int{}, map[string]int{}}
}

// below reports whether p has less than these numbers.
func (c counts) below(p party, address, client int) bool {
	return c.addresses[p.address] < address && (p.client == "" || c.clients[p.client] < client)
}

func (c counts) add(p party) {
	c.addresses[p.address]++
	if p.client != "" {
		c.clients[p.client]++
	}
}

func (c counts) remove(p party) {
	decrement(c.addresses, p.address)
	if p.client != "" {
		decrement(c.clients, p.client)
	}
}

// party is whose share a request counts against. The client is empty where it
// is not known before the work begins.
type party struct {
	address netip.Addr
	client  string
}

// waiter is a request that waits; ready is closed when it has its slot.
type waiter struct {
	party
	ready chan struct{}
}

// maxWait is how long a request may wait for a slot.
const maxWait = 5 * time.Second

// newPool returns a pool of a number of slots. A share of zero is the usual
// one: half of the pool for an address, a quarter for a client.
func newPool(size, perAddress, perClient int) *pool {
	or(&perAddress, max(size/2, 1))
	or(&perClient, max(size/4, 1))

	return &pool{
		size:       size,
		perAddress: perAddress,
		perClient:  perClient,
		wait:       maxWait,
		held:       newCounts(),
		present:    newCounts(),
	}
}

// acquire reports whether it got a slot for a request of p, for which it waits
// until ctx ends at most.
func (l *pool) acquire(ctx context.Context, p party) bool {
	l.mu.Lock()
	// As many may wait as are worked on: a party cannot fill the queue either.
	if len(l.waiting) >= l.size || !l.present.below(p, 2*l.perAddress, 2*l.perClient) {
		l.mu.Unlock()
		return false
	}

	l.present.add(p)
	if l.admits(p) {
		l.enter(p)
		l.mu.Unlock()
		return true
	}

	w := &waiter{
		party: p,
		ready: make(chan struct{}),
	}
	l.waiting = append(l.waiting, w)
	l.mu.Unlock()

	end := time.NewTimer(l.wait)
	defer end.Stop()
	select {
	case <-w.ready:
		return true
	case <-end.C:
	case <-ctx.Done():
	}

	return !l.forget(w)
}

// admits reports whether a request of p may have a slot now.
func (l *pool) admits(p party) bool {
	return l.used < l.size && l.held.below(p, l.perAddress, l.perClient)
}

func (l *pool) enter(p party) {
	l.used++
	l.held.add(p)
}

// forget removes a waiter, and returns false if it has got its slot meanwhile.
func (l *pool) forget(w *waiter) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.waiting, w)
	if i < 0 {
		return false
	}

	l.waiting = slices.Delete(l.waiting, i, i+1)
	l.present.remove(w.party)
	return true
}

// release returns the slot of a request of p, and hands it on to the first
// that waits and may have it.
func (l *pool) release(p party) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.used--
	l.held.remove(p)
	l.present.remove(p)

	for i := 0; i < len(l.waiting) && l.used < l.size; {
		w := l.waiting[i]
		if !l.admits(w.party) {
			i++
			continue
		}

		l.enter(w.party)
		l.waiting = slices.Delete(l.waiting, i, i+1)
		close(w.ready)
	}
}

func decrement[K comparable](m map[K]int, k K) {
	if m[k]--; m[k] == 0 {
		delete(m, k)
	}
}

// Bounds of the bodies that are in memory at once, as multiples and parts of
// limits.body. A body is reserved step by step; the first step is free, so that
// long bodies never hinder short ones. It has room for a token request at least.
const (
	roomBodies = 8
	roomSteps  = 32
	leastStep  = 16 << 10 // bytes
)

// room bounds how many bytes of long bodies are in memory at once. A client has half
// of it at most, and so have all requests together whose client is not known.
type room struct {
	size int64
	step int64

	mu      sync.Mutex
	used    int64
	clients map[string]int64
}

// newRoom returns the room for bodies of at most limit bytes each.
func newRoom(limit int) *room {
	return &room{
		size:    roomBodies * int64(limit),
		step:    max(int64(limit)/roomSteps, leastStep),
		clients: map[string]int64{},
	}
}

// reserve reports whether it reserved one more step for a client, "" for one that is
// not known.
func (m *room) reserve(client string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.used+m.step > m.size || m.clients[client]+m.step > m.size/2 {
		return false
	}

	m.used += m.step
	m.clients[client] += m.step
	return true
}

// release returns bytes that a client reserved.
func (m *room) release(client string, bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used -= bytes
	if m.clients[client] -= bytes; m.clients[client] == 0 {
		delete(m.clients, client)
	}
}

// turn is one request's place in a pool. A request holds a slot only while it
// is worked on: from when it has arrived whole until its answer is begun, so
// that neither a slow sender nor a slow reader holds one.
type turn struct {
	pool *pool
	party
	held bool
}

// errBusy is an udap.ErrUnavailable: no fault of who asked.
var errBusy = fmt.Errorf(
	"server: too many requests are being answered: %w",
	udap.ErrUnavailable,
)

// begin acquires the slot, unless it is held, and reports whether it has it.
func (t *turn) begin(ctx context.Context) bool {
	if !t.held {
		t.held = t.pool.acquire(ctx, t.party)
	}
	return t.held
}

// end releases the slot, if it is held.
func (t *turn) end() {
	if t.held {
		t.held = false
		t.pool.release(t.party)
	}
}

// authorized notes whose request it is, and begins its turn if it is whole. It
// is called once the client is known.
func authorized(r *http.Request, client string) error {
	a, ok := r.Context().Value(answerKey{}).(*answer)
	if !ok {
		return nil // a handler that is called without a front, as in tests
	}

	a.turn.client = client
	if r.Body != nil && r.Body != http.NoBody {
		return nil // it begins when the body has been read
	}
	return a.beginTurn(r.Context())
}
