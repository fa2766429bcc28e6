package gateway

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"fhirdest.example/gateway/wire"
)

// How a request goes out. What the next hop has sent unasked, or its end, must be seen
// before anything of the request is on the wire, as the request may then still go on
// another connection; and one system call should both look and begin the wait for the
// answer. So the request is written before the look, encrypted and kept, and goes out from
// inside the read that awaits its answer:
//
//	exchange.askOn            upstream.tls          upstream.raw            next hop
//	  raw.postpone() ------------------------------> keeps writes
//	  tls.Write(request) -----> encrypts ----------> kept
//	  raw.ask = exchange.send
//	  answers.fill -----------> tls.Read ----------> Read: tryRead
//	                                                 recv: something --------> not sent; askOn
//	                                                       is there            tries the next source
//	                                                 recv: EAGAIN
//	  send() <-------------------------------------- ask()
//	    announces, sets limits
//	    raw.flush() -------------------------------> the kept records --------> request
//	    starts the pump for a
//	    body that is incomplete
//	    returns true -------------------------------> waits until readable
//	                                                 recv <-------------------- answer
//	  relay() <--------------- plaintext <---------- records
//
// Where send returns false, because a part of a record came unasked, Read fails with
// errNothing, which is a temporary net.Error, so that crypto/tls can be read from again.

// upstream is a connection to a next hop. It belongs to one client and one route, so
// that nothing of one client is ever on another's.
type upstream struct {
	route    *route
	endpoint *endpoint // that it leads to
	raw      *rawConn
	tls      *tls.Conn
	used     bool // a request has been sent on it

	// use is who may touch it: its client while busy, anybody to close it while idle.
	use atomic.Int32
}

const (
	upstreamIdle int32 = iota
	upstreamBusy
	upstreamClosed
)

// acquire makes an idle upstream busy; false: it has been closed.
func (u *upstream) acquire() bool {
	return u.use.CompareAndSwap(upstreamIdle, upstreamBusy)
}

// park makes it idle again.
func (u *upstream) park() { u.use.Store(upstreamIdle) }

// maxUpstreams is how many upstreams one client has at once, for as many routes; the one
// that it has not used for longest goes first.
const maxUpstreams = 8

// upstreams are all that are open.
type upstreams struct {
	memory  *budget
	mu      sync.Mutex
	open    map[*upstream]struct{}
	dialled int // places of those that are being made
}

// reserve makes a place for one more, which add then fills or release gives back. At the
// ceiling it closes one that does nothing; false: there is none.
func (s *upstreams) reserve(most int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open)+s.dialled >= most && !s.evict() {
		return false
	}
	s.dialled++
	return true
}

func (s *upstreams) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dialled--
}

// evict closes one that does nothing. The caller holds mu.
func (s *upstreams) evict() bool {
	for u := range s.open {
		if u.use.CompareAndSwap(upstreamIdle, upstreamClosed) {
			s.forget(u)
			u.raw.Close()
			return true
		}
	}
	return false
}

// forget counts one out. The caller holds mu.
func (s *upstreams) forget(u *upstream) {
	delete(s.open, u)
	u.endpoint.open.Add(-1)
	s.memory.release(upstreamCost)
}

// add makes the place that was reserved that of u.
func (s *upstreams) add(u *upstream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[*upstream]struct{}{}
	}
	s.dialled--
	s.open[u] = struct{}{}
	s.memory.reserve(upstreamCost)
}

// close closes one, once.
func (s *upstreams) close(u *upstream, cut bool) {
	if u.use.Swap(upstreamClosed) == upstreamClosed {
		return
	}

	s.mu.Lock()
	s.forget(u)
	s.mu.Unlock()
	if cut {
		u.raw.cut()
		return
	}
	u.tls.Close()
}

// closeEnded closes those that do nothing and that the next hop has closed: the client
// that each belongs to may not look for a long time.
func (s *upstreams) closeEnded() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for u := range s.open {
		if u.use.Load() != upstreamIdle {
			continue
		}
		if ended, _ := u.raw.peerEnded(); ended && u.use.CompareAndSwap(upstreamIdle, upstreamClosed) {
			s.forget(u)
			u.raw.Close()
		}
	}
}

// count returns how many are open.
func (s *upstreams) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
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

// closed reports whether err, of a read, is the next hop's word that no more comes:
// close_notify (RFC 9112, 9.8). TLS also calls it the end when the stream ends between
// two records, which anyone on the way can bring about.
func (u *upstream) closed(err error) bool {
	return errors.Is(err, io.EOF) && !u.raw.ended
}

// sources are where a request's upstream comes from, in order: each may have none. The
// first is used that is open and on which nothing has come unasked, as that would become
// the answer. Nothing has been sent on the others, so that this is no second
// attempt.
var sources = [...]func(*exchange) (*upstream, *fault){
	(*exchange).kept,
	(*exchange).preconnected,
	(*exchange).fresh,
}

// kept is the client's connection for the route.
func (x *exchange) kept() (*upstream, *fault) {
	x.forget()
	for i, u := range x.ups {
		if u.route == x.way.route {
			x.ups = append(append(x.ups[:i], x.ups[i+1:]...), u) // the last is the last used
			return u, nil
		}
	}
	return nil, nil
}

// own makes u the client's own.
func (x *exchange) own(u *upstream) {
	if len(x.ups) == maxUpstreams {
		x.closeUpstream(x.ups[0], false)
	}
	x.ups = append(x.ups, u)
}

// preconnected is an unused one of the route.
func (x *exchange) preconnected() (*upstream, *fault) {
	u := x.g.preconnected(x.way.route)
	if u != nil {
		x.own(u)
	}
	return u, nil
}

// fresh is a new one.
func (x *exchange) fresh() (*upstream, *fault) {
	u, f := x.dial(x.way.route)
	if f == nil {
		x.own(u)
	}
	return u, f
}

// askOn sends the request on u, unless something is there to be read or it has been
// closed, and waits for the beginning of the answer. The one look at u that finds
// nothing shows that it is silent and begins the wait; so the request, ready encrypted,
// goes out between the two (see send).
func (x *exchange) askOn(u *upstream) bool {
	if !u.acquire() {
		x.closeUpstream(u, true)
		return false
	}

	x.up, x.endpoint = u, u.endpoint
	u.raw.postpone()
	if _, err := u.tls.Write(x.outgoing()); err == nil {
		u.raw.got, u.raw.ask = 0, x.sender
		x.answers.fill(u.tls, wire.MaxResponseHead) // an error shows again at the next
		u.raw.ask = nil
	}

	if !x.asked {
		u.raw.discard()
		x.answers.release()
		x.closeUpstream(u, true)
		x.up = nil
	}

	return x.asked
}

// dial makes a connection for the client, in a goroutine of its own, whose stack a
// handshake makes large: this one's would stay so for as long as the client does.
func (c *client) dial(r *route) (u *upstream, f *fault) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if v := recover(); v != nil {
				c.g.metrics.panics.Add(1)
				c.g.log.Error("a fault of the gateway ended a dial", "panic", v)
				u = nil
				f = faultOwn
			}
		}()

		u, f = c.g.dial(r, &c.deadline, peers{c.remote, c.local})
	}()

	<-done
	return u, f
}

// forget closes the upstreams of a configuration that is no longer in force.
func (c *client) forget() {
	if t := c.x.state.table; c.table != t {
		for _, u := range c.ups {
			c.g.ups.close(u, false)
		}
		c.ups = nil
		c.table = t
	}
}

// peers are the addresses that go into a PROXY header; the zero value is none.
type peers struct {
	src, dst netip.AddrPort
}

// dial makes a connection to the next hop of r: to the first of its addresses, in the order
// of choose, that accepts one. The deadline bounds each handshake.
func (g *Gateway) dial(r *route, d *deadline, p peers) (u *upstream, f *fault) {
	if !g.ups.reserve(g.state.Load().maxUpstreams) {
		return nil, faultBusy
	}

	var tried []*endpoint
	for last := false; !last; {
		var e *endpoint
		if e, last = g.endpoints.choose(r, tried); e == nil {
			break
		}

		began := g.now()
		if u, f = g.connect(r, e, d, p); f == nil {
			g.noteAccepted(r, e, began)
			g.ups.add(u)
			return u, nil
		}

		e.open.Add(-1)
		if !f.ofNextHop() {
			break
		}

		g.noteRefusal(r, e, f)
		f.endpoint = e
		tried = append(tried, e)
	}

	g.ups.release()
	return nil, f
}

// connect makes a connection to one address of the next hop of r.
func (g *Gateway) connect(
	r *route, e *endpoint, d *deadline, p peers,
) (*upstream, *fault) {
	d.rests() // of another address, before
	if d.clientGone() {
		return nil, faultGone
	}

	times := &g.state.Load().times
	dialer := net.Dialer{Timeout: times.Connect}
	conn, err := dialer.Dial("tcp", e.address)
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
		return nil, faultLoop.because("it is this gateway itself", nil)
	}

	u := &upstream{
		route:    r,
		endpoint: e,
		raw:      raw,
		tls:      tls.Client(raw, r.tls),
	}

	d.reads(&g.janitor, raw, times.Connect)
	if r.Proxy {
		raw.Write(wire.AppendProxy(nil, p.src, p.dst))
	}
	if err := u.tls.Handshake(); err != nil {
		raw.Close()
		if d.clientGone() {
			return nil, faultGone
		}
		if d.over() {
			return nil, faultNoConnect.because("no TLS handshake in time", err)
		}

		return nil, handshakeFault(err, g.explain)
	}

	return u, nil
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
