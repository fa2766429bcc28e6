package gateway

import (
	"crypto/tls"
	"net"
	"net/netip"
	"slices"

	"fhirdest.example/gateway/wire"
)

// client is one connection of a client, with its upstreams.
type client struct {
	g             *Gateway
	raw           *rawConn
	tls           *tls.Conn
	id            string // in the evidence
	seq           uint64
	remote, local netip.AddrPort
	address       *address
	deadline      deadline
	ups           []*upstream
	table         *table // of the routes of ups
	in            inbox
	x             exchange
	sender        func() bool // x.send, made once
}

// serve reads the PROXY header where there must be one, shakes hands, then passes exchanges until one is the last.
func (g *Gateway) serve(conn *net.TCPConn, a *address, proxied bool) {
	raw, err := newRawConn(conn)
	if err != nil {
		conn.Close()
		g.leave(a)
		return
	}

	c := &client{
		g:        g,
		raw:      raw,
		address:  a,
		deadline: deadline{client: raw},
		in:       inbox{budget: &g.memory},
	}
	c.sender = c.x.send

	c.remote = conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	c.local = conn.LocalAddr().(*net.TCPAddr).AddrPort()
	c.tls = tls.Server(raw, g.state.Load().tls)
	g.janitor.add(&c.deadline)
	c.deadline.reads(&g.janitor, raw, g.state.Load().times.Handshake)
	if proxied && !c.meetClient() {
		raw.cut()
		c.close()
		return
	}
	if err := c.tls.Handshake(); err != nil {
		g.metrics.handshakeFailures.Add(1)
		c.close()
		return
	}

	go c.run() // on a fresh stack: that of a handshake is large and would be kept
}

// meetClient reads the PROXY header and counts the connection to the address that it
// names, or to the gateway's own where it names none; false when there is no header, or
// that address has too many connections.
func (c *client) meetClient() bool {
	src, err := wire.ReadProxy(c.raw)
	if err != nil {
		c.g.metrics.handshakeFailures.Add(1)
		return false
	}
	if src == nil {
		return true
	}

	from := src.AddrPort()
	a, ok := c.g.clients.move(c.address, from.Addr(), &c.g.state.Load().limits, c.g.now())
	if !ok {
		c.g.metrics.limited.Add(1)
		return false
	}

	c.address = a
	c.remote = from
	return true
}

// run passes exchanges.
func (c *client) run() {
	defer c.close()
	defer c.recover()
	if c.g.evidence != nil {
		c.id = c.g.evidence.ConnID()
	}
	for c.exchange() && !c.g.janitor.draining.Load() {
	}
}

// recover turns a fault of our own into the end of this connection alone.
func (c *client) recover() {
	v := recover()
	if v == nil {
		return
	}

	c.g.metrics.panics.Add(1)
	c.g.log.Error("a fault of the gateway ended a connection", "panic", v)
	if c.x.client != nil && !c.x.begun && c.x.pump == nil {
		c.x.refuse(faultOwn)
	}
	c.raw.cut()
}

// close ends the connection and everything that belongs to it.
func (c *client) close() {
	for _, u := range c.ups {
		c.deadline.writes(&c.g.janitor, u.raw, lingerPause)
		c.g.ups.close(u, false)
	}

	c.deadline.writes(&c.g.janitor, c.raw, lingerPause)
	c.tls.Close()
	c.in.release()
	c.g.janitor.remove(&c.deadline)
	c.g.leave(c.address)
}

// closeUpstream closes an upstream for good; one that is cut does not look like a clean end.
func (c *client) closeUpstream(u *upstream, cut bool) {
	c.ups = slices.DeleteFunc(c.ups, func(other *upstream) bool {
		return other == u
	})
	c.g.ups.close(u, cut)
}
