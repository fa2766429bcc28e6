package gateway

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"

	"fhirdest.example/gateway/wire"
)

// upstream is a connection to a next hop. It belongs to one client and one route, so
// that nothing of one client can ever stand on another's.
type upstream struct {
	route *route
	raw   *rawConn
	tls   *tls.Conn
	used  bool // a request has been sent on it
}

// upstreamTLS is the configuration towards a next hop: verified by its private name,
// HTTP/1.1 only, whole records.
func upstreamTLS(c *tls.Config, name string) *tls.Config {
	if c == nil {
		return nil // Route.check complains
	}
	c = c.Clone()
	c.ServerName = name
	c.NextProtos = []string{"http/1.1"}
	c.DynamicRecordSizingDisabled = true
	return c
}

// alive reports whether a connection that lay idle can take a request: open, and
// nothing unasked stands on it. What a next hop sends without being asked would be
// taken for the answer to the next request.
func (u *upstream) alive() bool {
	u.raw.probing, u.raw.got = true, 0
	defer func() { u.raw.probing = false }()
	var b [1]byte
	n, err := u.tls.Read(b[:])
	if n > 0 || !errors.Is(err, errNothing) {
		return false
	}
	return u.raw.got == 0 || !u.used // an unused one may hold session tickets
}

// closed reports whether err, of a read, is the next hop's word that no more comes:
// close_notify (RFC 9112, 9.8). TLS also calls it the end when the stream ends between
// two records, which anyone on the way can bring about.
func (u *upstream) closed(err error) bool { return errors.Is(err, io.EOF) && !u.raw.ended }

// upstreamFor returns the client's connection for the route, a new one if need be.
// One that is found closed had sent nothing of this request, so that a new one is no
// second attempt.
func (c *client) upstreamFor(r *route) (*upstream, *fault) {
	c.forget()
	for i, u := range c.ups {
		if u.route != r {
			continue
		}
		if u.alive() {
			return u, nil
		}
		u.raw.Close()
		c.ups = append(c.ups[:i], c.ups[i+1:]...)
		break
	}
	u := c.g.takeSpare(r)
	if u == nil {
		var f *fault
		if u, f = c.dial(r); f != nil {
			return nil, f
		}
	}
	c.ups = append(c.ups, u)
	return u, nil
}

// dial makes a connection in a goroutine of its own, whose stack a handshake makes
// large: this one's would stay so for as long as the client does.
func (c *client) dial(r *route) (u *upstream, f *fault) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if v := recover(); v != nil {
				c.g.metrics.panics.Add(1)
				c.g.log.Error("a fault of the gateway ended a dial", "panic", v)
				u, f = nil, faultOwn
			}
		}()
		u, f = c.g.dial(r, &c.watch, c.remote, c.local)
	}()
	<-done
	return u, f
}

// forget closes the upstreams of a configuration that is no longer in force.
func (c *client) forget() {
	if t := c.x.state.table; c.table != t {
		for _, u := range c.ups {
			u.tls.Close()
		}
		c.ups, c.table = nil, t
	}
}

// dial makes a connection to the next hop of r. The watch bounds the handshake; src
// and dst go into the PROXY header, where there is one.
func (g *Gateway) dial(r *route, w *watch, src, dst netip.AddrPort) (*upstream, *fault) {
	times := &g.state.Load().times
	d := net.Dialer{Timeout: times.Connect}
	conn, err := d.Dial("tcp", r.next.address)
	g.metrics.dials.Add(1)
	if err != nil {
		return nil, dialFault(err)
	}
	raw, err := newRawConn(conn.(*net.TCPConn))
	if err != nil {
		conn.Close()
		return nil, faultOwn
	}
	if g.isOwn(conn) {
		conn.Close()
		return nil, faultLoop
	}
	u := &upstream{route: r, raw: raw, tls: tls.Client(raw, r.tls)}
	w.reads(&g.janitor, raw, times.Connect)
	if r.Proxy {
		raw.Write(wire.AppendProxy(nil, src, dst))
	}
	if err := u.tls.Handshake(); err != nil {
		raw.Close()
		if w.over() {
			return nil, faultNoConnect
		}
		return nil, faultTLS
	}
	return u, nil
}

func dialFault(err error) *fault {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return faultNoConnect
	}
	var e net.Error
	if errors.As(err, &e) && e.Timeout() {
		return faultNoConnect
	}
	return faultConnect
}

// isOwn reports whether the connection leads to one of our own listeners: a request
// would go round for ever.
func (g *Gateway) isOwn(c net.Conn) bool {
	remote := c.RemoteAddr().(*net.TCPAddr).AddrPort()
	local := c.LocalAddr().(*net.TCPAddr).AddrPort()
	g.mu.Lock()
	defer g.mu.Unlock()
	for l := range g.listeners {
		a, ok := l.Addr().(*net.TCPAddr)
		if !ok || uint16(a.Port) != remote.Port() {
			continue
		}
		own := a.AddrPort().Addr().Unmap()
		if own == remote.Addr().Unmap() || own.IsUnspecified() && local.Addr() == remote.Addr() {
			return true
		}
	}
	return false
}
