package postgres

import "sync"

const (
	maxCached      = 4096    // rows of one kind kept in memory
	maxCachedToken = 4 << 10 // bytes of a token's body: a client may send long extensions
)

// versions keeps rows that were parsed, each with its version, read-only. It is never
// known here whether a row is still as it was: see Trust.
type versions[K comparable, V any] struct {
	mu   sync.RWMutex // guards the field below
	rows map[K]versioned[V]
}

type versioned[V any] struct {
	version int64 // 0: of no row
	value   *V
}

func newVersions[K comparable, V any]() *versions[K, V] {
	return &versions[K, V]{rows: map[K]versioned[V]{}}
}

func (c *versions[K, V]) get(k K) versioned[V] {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.rows[k]
}

func (c *versions[K, V]) put(k K, v versioned[V]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.rows) >= maxCached {
		for k := range c.rows { // whichever comes first has to go
			delete(c.rows, k)
			break
		}
	}
	c.rows[k] = v
}

// empty forgets everything.
func (c *versions[K, V]) empty() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.rows)
}

func (c *versions[K, V]) forget(k K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.rows, k)
}
