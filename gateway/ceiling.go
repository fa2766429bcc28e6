package gateway

import (
	"errors"
	"sync/atomic"
)

// Estimates of what things hold in memory, in bytes, beside the buffers that are counted
// as they are. They were measured with hundreds of each, and are a little higher, as
// records of full size leave their buffer with TLS.
const (
	clientCost   = 20 << 10 // a client's connection
	upstreamCost = 12 << 10 // a connection to a next hop
)

// defaultMemory is the memory that the gateway's ceilings are made for, in bytes.
const defaultMemory = 256 << 20

// otherDescriptors are left for files, listeners and connections of administration.
const otherDescriptors = 64

// Usage is how much of its ceilings a Gateway uses.
type Usage struct {
	Connections, MaxConnections int // of clients
	Upstreams, MaxUpstreams     int // connections to next hops
	// Memory is an estimate of what connections and buffers hold, in bytes.
	Memory, MaxMemory int64
}

// Usage returns how much of its ceilings the gateway uses at the moment.
func (g *Gateway) Usage() Usage {
	s := g.state.Load()
	return Usage{
		Connections:    g.clients.count(),
		MaxConnections: s.limits.Connections,
		Upstreams:      g.ups.count(),
		MaxUpstreams:   s.maxUpstreams,
		Memory:         g.memory.used.Load(),
		MaxMemory:      g.memory.max.Load(),
	}
}

// withDefaults fills in the ceilings that are zero, and lowers what is beyond the
// descriptors that the process may have: each client needs one, and one for its upstream.
// Three quarters of the memory are for connections and buffers, the rest for all else.
func (l Limits) withDefaults(descriptors int) Limits {
	if l.Memory == 0 {
		l.Memory = defaultMemory
	}

	most := max(1, (descriptors-otherDescriptors)/2)
	if l.Connections == 0 {
		l.Connections = most
		if l.Memory > 0 {
			each := int64(clientCost + upstreamCost + smallBuffer)
			l.Connections = min(most, int(max(1, l.Memory/4*3/each)))
		}
	}

	l.Connections = min(l.Connections, most)
	return l
}

// budget is the memory that connections and buffers may hold, by estimate.
type budget struct {
	used atomic.Int64
	max  atomic.Int64 // 0: no limit
}

// set makes it that of the limits.
func (b *budget) set(l *Limits) {
	b.max.Store(max(0, l.Memory/4*3))
}

// reserve counts n bytes in.
func (b *budget) reserve(n int) { b.used.Add(int64(n)) }

// release counts n bytes out.
func (b *budget) release(n int) { b.used.Add(-int64(n)) }

// fits reports whether n more bytes are within the budget.
func (b *budget) fits(n int) bool {
	most := b.max.Load()
	return most == 0 || b.used.Load()+int64(n) <= most
}

// fitsLarge is fits for what only some need. A quarter of the budget is left for the
// connections and small buffers of the others.
func (b *budget) fitsLarge(n int) bool {
	most := b.max.Load()
	return most == 0 || b.used.Load()+int64(n) <= most/4*3
}

// errNoMemory is returned for what would be beyond the budget.
var errNoMemory = errors.New("gateway: the memory for messages is used up")
