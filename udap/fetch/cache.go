package fetch

import (
	"context"
	"errors"
	"sync"
	"time"
)

// cache keeps what was fetched under a key, fetches each thing once at a time,
// and does not ask again at once for what could not be had.
type cache[V any] struct {
	now     func() time.Time
	refresh time.Duration
	most    int // entries
	slots   *slots

	mu    sync.Mutex
	items map[string]*item[V]
}

// item is one thing. Its fields are guarded by cache.mu.
type item[V any] struct {
	value  V
	came   time.Time // when value was fetched; zero: never
	until  time.Time // value counts before this
	tried  time.Time // when the last fetch ended
	used   time.Time // when it was last asked for
	err    error     // how the last fetch failed
	flight *flight   // the fetch under way or waiting for its slot; nil when there is none
}

func newCache[V any](cfg Config, most int, s *slots) *cache[V] {
	return &cache[V]{
		now:     cfg.Now,
		refresh: cfg.Refresh,
		most:    most,
		slots:   s,
		items:   map[string]*item[V]{},
	}
}

// bring fetches one thing and returns when it stops counting.
type bring[V any] func() (value V, until time.Time, err error)

// get returns what is known and counts, and fetches from place what is unknown
// or old. It returns errBusy if ctx ended before the fetch had a slot.
func (c *cache[V]) get(ctx context.Context, key, place string, fetch bring[V]) (V, time.Time, error) {
	now := c.now()
	c.mu.Lock()
	it := c.item(key, now)
	if !it.flight.joinable() && it.due(now, c.refresh) {
		it.flight = newFlight(place)
		go c.fetch(it, it.flight, fetch)
	}

	wait := it.flight
	if it.counts(now) {
		wait = nil // an old value counts while a new one is fetched
	}
	if wait != nil {
		wait.callers++
	}
	c.mu.Unlock()

	if wait != nil {
		wait.wait(ctx, &c.mu)
	}
	c.mu.Lock()
	defer c.mu.Unlock()

	return it.answer(c.now(), wait)
}

// fetch runs one flight. One that found no slot leaves nothing behind: the next
// caller starts another.
func (c *cache[V]) fetch(it *item[V], f *flight, fetch bring[V]) {
	defer close(f.done)
	release, busy := f.begin(c.slots, &c.mu)

	var value V
	var until time.Time
	var err error
	if busy == nil {
		value, until, err = fetch()
		release()
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	if it.flight == f {
		it.flight = nil
	}
	if busy != nil {
		return
	}

	it.tried, it.err = c.now(), err
	if err == nil {
		it.value, it.until, it.came = value, until, it.tried
	}
}

// item finds or makes an entry; the one used longest ago makes room. The
// caller holds c.mu.
func (c *cache[V]) item(key string, now time.Time) *item[V] {
	it := c.items[key]
	if it == nil {
		if len(c.items) >= c.most {
			c.dropOldest()
		}
		it = &item[V]{}
		c.items[key] = it
	}

	it.used = now
	return it
}

func (c *cache[V]) dropOldest() {
	oldest, at := "", time.Time{}
	for k, it := range c.items {
		if oldest == "" || it.used.Before(at) {
			oldest, at = k, it.used
		}
	}
	delete(c.items, oldest)
}

func (it *item[V]) counts(now time.Time) bool {
	return !it.came.IsZero() && now.Before(it.until)
}

func (it *item[V]) due(now time.Time, refresh time.Duration) bool {
	switch {
	case it.tried.IsZero():
		return true
	case !it.counts(now):
		return now.Sub(it.tried) >= min(refresh, longestWait)
	}
	return now.Sub(it.tried) >= refresh
}

// answer returns the value if it counts, and otherwise why there is none. f is
// the flight that the caller waited for, if any.
func (it *item[V]) answer(now time.Time, f *flight) (V, time.Time, error) {
	var none V
	if it.counts(now) {
		return it.value, it.came, nil
	}
	if err := f.missed(); err != nil {
		return none, time.Time{}, err
	}
	if it.err != nil {
		return none, time.Time{}, it.err
	}

	return none, time.Time{}, errNotEnded
}

var errNotEnded = errors.New("the fetch has not ended yet")
