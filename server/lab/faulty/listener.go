package faulty

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"fhirdest.example/certs"
)

// Sound is the name of the listener without a fault: it is another origin, to which
// no client shall send a token.
const Sound = "elsewhere"

// Config is what the listeners are made of.
type Config struct {
	Listen string // HOST:PORT of the first; the others have the next ports, or any where PORT is 0
	Host   string // name or address in the certificates: that of the public base URL

	// Authority issues the certificates of web servers that clients trust. Without
	// it there are the faults alone that need none.
	Authority *certs.CA

	Now   func() time.Time
	Ended func(fault string, from net.Addr) // a connection ended after a ClientHello, without a request
}

// Listener is a listener with one fault. It accepts TCP; whoever serves it terminates
// TLS by its configuration, and calls Served for each request.
type Listener struct {
	net.Listener
	Fault string
	TLS   *tls.Config

	cfg Config
	mu  sync.Mutex
	// open are the connections, by the address of their peer.
	open map[string]*conn
}

// Open opens a listener for each fault that can be had. Its error leaves none open.
func Open(cfg Config) (all []*Listener, err error) {
	host, text, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("faulty: the port %q is no number", text)
	}

	for _, f := range faults {
		if f.trusted && cfg.Authority == nil {
			continue
		}

		l, err := cfg.open(f, net.JoinHostPort(host, strconv.FormatUint(port, 10)))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("faulty: %s: %w", f.name, err), Close(all))
		}
		all = append(all, l)
		if port != 0 {
			port++
		}
	}

	return all, nil
}

// Close closes listeners.
func Close(all []*Listener) error {
	var errs []error
	for _, l := range all {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (c Config) open(f fault, address string) (*Listener, error) {
	id, err := f.certificate(c)
	if err != nil {
		return nil, err
	}
	tcp, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}

	l := &Listener{
		Listener: tcp,
		Fault:    f.name,
		cfg:      c,
		open:     map[string]*conn{},
	}
	pair := id.TLS()
	l.TLS = &tls.Config{
		MinVersion:         tls.VersionTLS12,
		NextProtos:         []string{"http/1.1"},
		Certificates:       []tls.Certificate{pair},
		GetConfigForClient: l.hello,
	}
	if f.old {
		l.TLS.MinVersion, l.TLS.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	}

	return l, nil
}

// Origin returns the origin of the listener's URLs.
func (l *Listener) Origin() string {
	_, port, _ := net.SplitHostPort(l.Addr().String()) // TCP has a port
	return "https://" + net.JoinHostPort(l.cfg.Host, port)
}

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}

	one := &conn{
		Conn: c,
		list: l,
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[c.RemoteAddr().String()] = one
	return one, nil
}

// hello notes that a client began a handshake.
func (l *Listener) hello(h *tls.ClientHelloInfo) (*tls.Config, error) {
	l.mark(h.Conn.RemoteAddr().String(), func(c *conn) { c.greeted = true })
	return nil, nil // the listener's own
}

// Served notes that a request came over a connection.
func (l *Listener) Served(r *http.Request) {
	l.mark(r.RemoteAddr, func(c *conn) { c.served = true })
}

func (l *Listener) mark(peer string, f func(*conn)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.open[peer]; c != nil {
		f(c)
	}
}

// conn is a connection of a Listener, whose mu guards its fields.
type conn struct {
	net.Conn
	list    *Listener
	greeted bool // a ClientHello arrived
	served  bool // a request did
	gone    bool
}

// Close implements net.Conn. The first call reports a connection that came to nothing.
func (c *conn) Close() error {
	l := c.list
	l.mu.Lock()
	ended := c.greeted && !c.served && !c.gone
	c.gone = true
	if from := c.RemoteAddr().String(); l.open[from] == c {
		delete(l.open, from)
	}
	l.mu.Unlock()

	if ended {
		l.cfg.Ended(l.Fault, c.RemoteAddr())
	}
	return c.Conn.Close()
}

// CloseWrite ends our direction alone.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
