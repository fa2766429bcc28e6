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
	most    int           // entries
	slots   chan struct{} // one token for each fetch under way

	mu    sync.Mutex
	items map[string]*item[V]
}

// item is one thing. Its fields are guarded by cache.mu.
type item[V any] struct {
	value  V
	came   time.Time     // when value was fetched; zero: never
	until  time.Time     // value counts before this
	tried  time.Time     // when the last fetch ended
	used   time.Time     // when it was last asked for
	err    error         // how the last fetch failed
	flight chan struct{} // closed when the fetch under way ends; nil when none is
}

func newCache[V any](cfg Config, most, fetches int) *cache[V] {
	return &cache[V]{
		now:     cfg.Now,
		refresh: cfg.Refresh,
		most:    most,
		slots:   make(chan struct{}, fetches),
		items:   map[string]*item[V]{},
	}
}

var errBusy = errors.New("too many fetches are under way")

// bring fetches one thing and says until when it counts.
type bring[V any] func() (value V, until time.Time, err error)

// get answers with what is known and counts, and fetches what is not or is old.
func (c *cache[V]) get(ctx context.Context, key string, fetch bring[V]) (V, time.Time, error) {
	now := c.now()
	c.mu.Lock()
	it := c.item(key, now)
	if it.flight == nil && it.due(now, c.refresh) {
		it.flight = make(chan struct{})
		go c.fetch(it, fetch)
	}
	wait := it.flight

	if it.counts(now) {
		wait = nil // an old value counts while a new one is fetched
	}
	c.mu.Unlock()
	if wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
		}
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	return it.answer(c.now())
}

func (c *cache[V]) fetch(it *item[V], fetch bring[V]) {
	var value V
	var until time.Time
	err := errBusy
	select {
	case c.slots <- struct{}{}:
		value, until, err = fetch()
		<-c.slots
	default:
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	it.tried, it.err = c.now(), err
	if err == nil {
		it.value, it.until, it.came = value, until, it.tried
	}
	close(it.flight)
	it.flight = nil
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

func (it *item[V]) counts(now time.Time) bool { return !it.came.IsZero() && now.Before(it.until) }

func (it *item[V]) due(now time.Time, refresh time.Duration) bool {
	switch {
	case it.tried.IsZero():
		return true
	case !it.counts(now):
		return now.Sub(it.tried) >= min(refresh, longestWait)
	}
	return now.Sub(it.tried) >= refresh
}

func (it *item[V]) answer(now time.Time) (V, time.Time, error) {
	var none V
	switch {
	case it.counts(now):
		return it.value, it.came, nil
	case it.err != nil:
		return none, time.Time{}, it.err
	}
	return none, time.Time{}, errors.New("the fetch has not ended yet")
}
