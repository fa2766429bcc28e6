package store

import (
	"sync"

	"fhirdest.example/server/oauth"
	"fhirdest.example/udap"
)

// maxCachedClients bounds the registrations kept in memory.
const maxCachedClients = 4096

// clientCache keeps registrations that are asked for often. A change takes its
// client out before the change is answered; who read the old one meanwhile
// cannot put it back, since the epoch has moved on.
type clientCache struct {
	mu    sync.RWMutex // guards all below
	byID  map[udap.ClientID]*oauth.Registration
	epoch uint64
}

func newClientCache() *clientCache {
	return &clientCache{byID: map[udap.ClientID]*oauth.Registration{}}
}

func (c *clientCache) get(id udap.ClientID) (*oauth.Registration, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	r, known := c.byID[id]
	return r, known
}

func (c *clientCache) begin() uint64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.epoch
}

func (c *clientCache) put(epoch uint64, r *oauth.Registration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if epoch != c.epoch {
		return
	}
	if len(c.byID) >= maxCachedClients {
		for id := range c.byID { // whichever comes first makes room
			delete(c.byID, id)
			break
		}
	}
	c.byID[r.ID] = r
}

func (c *clientCache) forget(id udap.ClientID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	delete(c.byID, id)
}
