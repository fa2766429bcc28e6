package bolt

import (
	"sync"

	"fhirdest.example/server/oauth"
)

const (
	maxCached      = 4096    // rows of one kind kept in memory
	maxCachedToken = 4 << 10 // bytes of a token's record: a client may send long extensions
)

// cache keeps rows that are read often, read-only. A change removes its row
// out before the change is answered; who read the old one meanwhile cannot put
// it back, since the epoch has moved on.
type cache[K comparable, V any] struct {
	mu    sync.RWMutex // guards all below
	rows  map[K]*V
	epoch uint64
}

// tokenKey names a token as its holder does.
type tokenKey struct {
	handle oauth.Handle
	hash   oauth.Hash
}

func newCache[K comparable, V any]() *cache[K, V] {
	return &cache[K, V]{rows: map[K]*V{}}
}

func (c *cache[K, V]) get(k K) (*V, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	v, known := c.rows[k]
	return v, known
}

func (c *cache[K, V]) begin() uint64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.epoch
}

func (c *cache[K, V]) put(epoch uint64, k K, v *V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if epoch != c.epoch {
		return
	}

	if len(c.rows) >= maxCached {
		for k := range c.rows { // whichever comes first has to go
			delete(c.rows, k)
			break
		}
	}

	c.rows[k] = v
}

func (c *cache[K, V]) forget(k K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	delete(c.rows, k)
}

func (c *cache[K, V]) forgetAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	clear(c.rows)
}
