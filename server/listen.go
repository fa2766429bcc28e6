package server

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"fhirdest.example/certs/netname"
	"fhirdest.example/server/oauth"
)

// limitListener holds the number of open connections down. Beyond the whole
// number further ones wait in the kernel's queue; beyond one address's share
// they are closed at once.
type limitListener struct {
	net.Listener
	slots      chan struct{}
	perAddress int
	exempt     func(net.Addr) bool // gateways that carry many originators
	slow       time.Duration       // for this long a peer may read nothing
	rate       int                 // bytes a second that it must read at least
	done       chan struct{}
	close      sync.Once

	mu   sync.Mutex
	open map[netip.Addr]int
	none chan struct{} // closed when no connection is open; nil: nobody waits for that
}

func newLimitListener(
	l net.Listener, limits Limits, slow time.Duration, exempt func(net.Addr) bool,
) *limitListener {
	return &limitListener{
		Listener:   l,
		slots:      make(chan struct{}, limits.Connections),
		perAddress: limits.PerAddress,
		exempt:     exempt,
		slow:       slow,
		rate:       limits.Rate,
		done:       make(chan struct{}),
		open:       map[netip.Addr]int{},
	}
}

func (l *limitListener) Accept() (net.Conn, error) {
	for {
		select {
		case l.slots <- struct{}{}:
		case <-l.done:
			return nil, net.ErrClosed
		}

		c, err := l.Listener.Accept()
		if err != nil {
			<-l.slots
			return nil, err
		}

		from := oauth.Customer(addressOf(c.RemoteAddr()))
		if l.enter(from, l.exempt(c.RemoteAddr())) {
			return &limitedConn{
				Conn: c,
				from: from,
				list: l,
			}, nil
		}

		<-l.slots
		_ = c.Close() // one too many from there; it learns no more
	}
}

func (l *limitListener) Close() error {
	l.close.Do(func() { close(l.done) })
	return l.Listener.Close()
}

func (l *limitListener) enter(a netip.Addr, exempt bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !exempt && l.perAddress > 0 && l.open[a] >= l.perAddress {
		return false
	}
	l.open[a]++
	return true
}

func (l *limitListener) leave(a netip.Addr) {
	l.mu.Lock()
	if l.open[a]--; l.open[a] == 0 {
		delete(l.open, a)
	}
	l.noteNone()
	l.mu.Unlock()
	<-l.slots
}

// settled returns a channel that is closed once no connection is open.
func (l *limitListener) settled() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()

	none := make(chan struct{})
	l.none = none
	l.noteNone()
	return none
}

// noteNone closes none, once, when no connection is open. The caller holds mu.
func (l *limitListener) noteNone() {
	if l.none != nil && len(l.open) == 0 {
		close(l.none)
		l.none = nil
	}
}

// limitedConn gives its place back when it is closed, and ends a peer that does
// not read what is written to it.
type limitedConn struct {
	net.Conn
	from netip.Addr
	list *limitListener
	once sync.Once

	mu    sync.Mutex
	until time.Time // the server's own deadline for writing; zero: none
}

// Write fails unless the peer reads at the least rate. It is called for each TLS
// record: a peer that reads nothing is cut after little more than timeouts.slow.
func (c *limitedConn) Write(p []byte) (int, error) {
	end := time.Now().Add(c.list.slow + time.Duration(len(p))*time.Second/time.Duration(c.list.rate))

	c.mu.Lock()
	if !c.until.IsZero() && c.until.Before(end) {
		end = c.until
	}
	err := c.Conn.SetWriteDeadline(end)
	c.mu.Unlock()

	if err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// SetWriteDeadline notes the server's own deadline, which a least rate can only
// bring forward.
func (c *limitedConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until = t
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline sets both deadlines.
func (c *limitedConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *limitedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { c.list.leave(c.from) })
	return err
}

// CloseWrite ends our direction only, so that a refused peer can still read
// why.
func (c *limitedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

func addressOf(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// gateways are the peers that speak the PROXY protocol.
type gateways []netip.Prefix

func newGateways(texts []string) gateways {
	var out gateways
	for _, t := range texts {
		if p, err := netname.Prefix(t); err == nil { // Check has complained about others
			out = append(out, p)
		}
	}
	return out
}

func (g gateways) has(a net.Addr) bool {
	ip := addressOf(a)
	for _, p := range g {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}
