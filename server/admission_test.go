package server

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

func from(address, client string) party { return party{netip.MustParseAddr(address), client} }

// A request gets a slot as long as the pool, its address's share and its
// client's share have one.
func TestShares(t *testing.T) {
	a1, a2 := from("192.0.2.1", "a"), from("192.0.2.2", "a")
	b1, none1, none2 := from("192.0.2.1", "b"), from("192.0.2.1", ""), from("192.0.2.2", "")
	for _, c := range []struct {
		name                        string
		size, perAddress, perClient int
		held                        []party
		next                        party
		want                        bool
	}{
		{"empty", 8, 0, 0, nil, a1, true},
		{"a client's usual share is a quarter", 8, 0, 0, []party{a1, a2}, a1, false},
		{"another client is served", 8, 0, 0, []party{a1, a2}, b1, true},
		{"a client has one share from all addresses", 8, 8, 2, []party{a1, a2}, a2, false},
		{"an address's usual share is a half", 8, 0, 0, []party{none1, none1, none1, none1}, none1, false},
		{"it counts known clients, too", 8, 0, 0, []party{none1, none1, none1, a1}, b1, false},
		{"another address is served", 8, 0, 0, []party{none1, none1, none1, none1}, none2, true},
		{"full", 2, 2, 2, []party{a1, none2}, b1, false},
		{"one slot", 1, 0, 0, nil, a1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newPool(c.size, c.perAddress, c.perClient)
			l.wait = 0
			for _, p := range c.held {
				if !l.acquire(t.Context(), p) {
					t.Fatalf("no slot for %v", p)
				}
			}

			if got := l.acquire(t.Context(), c.next); got != c.want {
				t.Errorf("acquired: %v, want %v", got, c.want)
			}
		})
	}
}

// A party cannot fill the queue: the request of another waits and is served.
func TestQueueHasShares(t *testing.T) {
	l := newPool(4, 4, 1)
	l.wait = time.Hour
	greedy, honest := from("192.0.2.1", "greedy"), from("192.0.2.1", "honest")
	for _, p := range []party{greedy, honest} {
		if !l.acquire(t.Context(), p) {
			t.Fatal("no slot")
		}
	}

	ctx, cancel := context.WithCancel(t.Context())
	var queue sync.WaitGroup
	queue.Go(func() { l.acquire(ctx, greedy) })
	waitFor(l, 1)
	if l.acquire(ctx, greedy) {
		t.Error("a second request of one client waits beyond its share")
	}

	got := make(chan bool)
	go func() { got <- l.acquire(ctx, honest) }()
	waitFor(l, 2)
	l.release(honest)
	if !<-got {
		t.Error("the slot was not handed on to the first that may have it")
	}

	cancel()
	queue.Wait()
	l.release(honest)
	l.release(greedy)
	checkEmpty(t, l)
}

// waitFor returns when a number of requests wait.
func waitFor(l *pool, n int) {
	for {
		l.mu.Lock()
		there := len(l.waiting)
		l.mu.Unlock()
		if there == n {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func checkEmpty(t *testing.T, l *pool) {
	t.Helper()
	if l.used != 0 || len(l.waiting) != 0 || len(l.held.addresses)+len(l.held.clients)+
		len(l.present.addresses)+len(l.present.clients) != 0 {
		t.Errorf("something is left in the pool: %+v", l)
	}
}

// Under any load the bounds hold, and nothing is left behind.
func TestPoolUnderLoad(t *testing.T) {
	l := newPool(8, 6, 3)
	l.wait = 10 * time.Millisecond
	var all sync.WaitGroup

	for i := range 64 {
		p := from([]string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}[i%3], []string{"", "a", "b", "c"}[i%4])
		all.Go(func() {
			for range 200 {
				if !l.acquire(t.Context(), p) {
					continue
				}

				l.mu.Lock()
				if l.used > 8 || l.held.addresses[p.address] > 6 || p.client != "" && l.held.clients[p.client] > 3 {
					t.Errorf("too many: %d in use, %v", l.used, l.held)
				}
				l.mu.Unlock()
				l.release(p)
			}
		})
	}

	all.Wait()
	checkEmpty(t, l)
}

// A client that has ended its side of the connection waits for a slot like any
// other, whether its request has a body or not.
func TestHalfClosedClientsWaitForASlot(t *testing.T) {
	for _, text := range []string{"", "a=b"} {
		t.Run("body "+text, func(t *testing.T) {
			f, _ := newFront(func(w http.ResponseWriter, r *http.Request) {
				if _, err := io.ReadAll(r.Body); err == nil {
					w.WriteHeader(http.StatusNoContent)
				}
			})
			l := f.pools.oauth
			l.wait = time.Hour
			if !l.acquire(t.Context(), party{}) {
				t.Fatal("no slot")
			}

			gone, cancel := context.WithCancel(t.Context())
			cancel()
			r := httptest.NewRequestWithContext(gone, "POST", "https://h/oauth/token", strings.NewReader(text))
			w := httptest.NewRecorder()
			done := make(chan struct{})
			go func() { f.ServeHTTP(w, r); close(done) }()
			waitFor(l, 1)
			l.release(party{})

			<-done
			if w.Code != http.StatusNoContent {
				t.Errorf("%d", w.Code)
			}
		})
	}
}
