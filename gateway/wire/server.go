package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// ListenerConfig is how a Listener treats its connections.
type ListenerConfig struct {
	// TLS is the server's configuration; its NextProtos should be http/1.1 only.
	TLS *tls.Config
	// Handshake bounds the TLS handshake, PROXY header included; 10 s when 0.
	Handshake time.Duration
	// Record gets every message of every connection; nil records nothing. It must
	// not keep the Message.
	Record func(*Message)
	// Owe, where there is one, is called for each message before anybody acts on it, and
	// of one that came to nothing by -1; each other has its Record later, with Owed set.
	Owe func(n int)
	// Copy, where there is one, is asked with the head of each request, also of one
	// that is refused for its framing, for what gets a copy of it and of its answer;
	// nil: nobody wants this one. It must not keep head.
	Copy func(from net.Addr, conn string, head []byte) Copy
	// ConnID names a new connection; required with Record and Copy.
	ConnID func() string
	// Now is the clock of the records; required with Record and Copy.
	Now func() time.Time
	// Refusal is the whole HTTP answer to a request that cannot be framed; nil
	// answers the status with an empty body.
	Refusal func(*Error) []byte
	// Proxy reports whether the peer at this address sends a PROXY protocol v2 header
	// first. One that should and does not is cut; from anyone else it would be a
	// broken handshake. Nil: nobody.
	Proxy func(net.Addr) bool
}

// Listener accepts connections, terminates TLS itself in the connection's own
// goroutine, follows the plaintext, and lets no ambiguously framed request through.
//
// With net/http:
//
//	l := wire.NewListener(tcp, wire.ListenerConfig{TLS: cfg, Record: log.Tap, ConnID: log.ConnID, Now: now})
//	s := &http.Server{Handler: wire.Handler(h), ConnContext: wire.ConnContext, ReadHeaderTimeout: ...}
//	s.Serve(l)
//
// Handler puts the TLS state into Request.TLS, which not every net/http does for
// connections that are not its own. Deadlines that net/http sets are kept.
type Listener struct {
	net.Listener
	config ListenerConfig
}

// DefaultHandshake bounds a TLS handshake where nothing else is configured.
const DefaultHandshake = 10 * time.Second

// NewListener returns a Listener over inner, which accepts plain TCP.
func NewListener(inner net.Listener, config ListenerConfig) *Listener {
	if config.Handshake == 0 {
		config.Handshake = DefaultHandshake
	}
	if config.Refusal == nil {
		config.Refusal = refusal
	}
	return &Listener{inner, config}
}

// Accept returns the next connection without waiting for its handshake, which its
// first Read, Write or RemoteAddr does.
func (l *Listener) Accept() (net.Conn, error) {
	raw, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}

	c := &ServerConn{
		raw:    raw,
		config: &l.config,
		remote: raw.RemoteAddr(),
	}
	c.wake = sync.NewCond(&c.mu)
	c.proxied = l.config.Proxy != nil && l.config.Proxy(c.remote)
	c.tls = tls.Server(raw, l.config.TLS)

	c.tap = l.config.tap(c)
	return c, nil
}

// tap returns what follows a new connection. Without a record it still follows, as
// a refusal must know which requests have been answered.
func (c *ListenerConfig) tap(conn *ServerConn) *Tap {
	record := c.Record
	switch {
	case record == nil && c.Copy == nil:
		return NewTap("", nil, nil)
	case record == nil:
		record = func(*Message) {} // copies have digests, too
	}

	t := NewTap(c.ConnID(), c.Now, record)
	t.owe = c.Owe
	if c.Copy != nil {
		t.copy = func(name string, head []byte) Copy {
			return c.Copy(conn.RemoteAddr(), name, head)
		}
	}
	return t
}

// ServerConn is the plaintext side of one accepted TLS connection.
type ServerConn struct {
	raw     net.Conn
	tls     *tls.Conn
	config  *ListenerConfig
	tap     *Tap
	proxied bool

	shake    sync.Once
	shakeErr error
	remote   net.Addr // set by the handshake when proxied
	state    atomic.Pointer[tls.ConnectionState]

	guard   guard // only the reader touches it
	refused atomic.Bool
	partial atomic.Bool // the reader has seen a request in part

	// mu guards what a reader that waits for an earlier response looks at.
	mu       sync.Mutex
	wake     *sync.Cond
	deadline time.Time // for reading; zero: none
	closed   bool
}

// ConnectionState returns the TLS state, after the handshake, which it does when
// nobody has: net/http asks for it before it reads.
func (c *ServerConn) ConnectionState() tls.ConnectionState {
	c.handshake()
	return c.tls.ConnectionState()
}

// sharedState is ConnectionState for all requests of the connection, which must not
// change it.
func (c *ServerConn) sharedState() *tls.ConnectionState {
	if state := c.state.Load(); state != nil {
		return state
	}

	state := c.ConnectionState()
	if state.HandshakeComplete {
		c.state.Store(&state)
	}
	return &state
}

// handshake does the PROXY header and the TLS handshake, once, within the deadline.
func (c *ServerConn) handshake() error {
	c.shake.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), c.config.Handshake)
		defer cancel()
		if c.proxied {
			if c.shakeErr = c.readProxy(ctx); c.shakeErr != nil {
				return
			}
		}

		c.shakeErr = c.tls.HandshakeContext(ctx)
	})

	return c.shakeErr
}

// readProxy reads the PROXY header and uses the address that it carries.
func (c *ServerConn) readProxy(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		c.raw.Close()
	})
	defer stop()
	src, err := ReadProxy(c.raw)
	if err != nil {
		c.raw.Close()
		return err
	}

	if src != nil {
		c.remote = src
	}
	return nil
}

// Read returns bytes of well-framed requests only. A request that cannot be framed
// is answered here, once all earlier ones have been, and then the stream ends; a
// fault inside a body makes Read fail with an *Error instead, as the request's
// answer is the handler's.
func (c *ServerConn) Read(p []byte) (int, error) {
	if err := c.handshake(); err != nil {
		return 0, err
	}

	defer func() {
		c.partial.Store(c.guard.inBody || len(c.guard.buf) > 0)
	}()
	for len(p) > 0 {
		if c.guard.passed > 0 {
			n := c.guard.deliver(p)
			c.tap.Requests(p[:n])
			return n, nil
		}
		if c.guard.err != nil {
			return 0, c.refuse()
		}
		if n, err := c.fill(p); n > 0 || err != nil {
			return n, err
		}
	}

	return 0, nil
}

// fill reads once from the wire, straight into p where nothing must be held back.
func (c *ServerConn) fill(p []byte) (int, error) {
	if c.guard.direct() {
		n, err := c.tls.Read(p)
		n = c.guard.pass(p[:n])
		c.tap.Requests(p[:n])
		if n > 0 {
			err = nil
		}

		return n, err
	}

	var b [4 << 10]byte
	n, err := c.tls.Read(b[:])
	c.guard.hold(b[:n])
	if c.guard.passed > 0 || c.guard.err != nil {
		err = nil
	}

	return 0, err
}

// refuse ends the stream at a framing fault.
func (c *ServerConn) refuse() error {
	var fault *Error
	if !c.guard.atHead() || !errors.As(c.guard.err, &fault) {
		return c.guard.err
	}
	if c.refused.Load() {
		return io.EOF
	}
	if err := c.waitAnswered(); err != nil {
		return err
	}

	c.refused.Store(true)
	c.tap.Requests(c.guard.buf)
	c.Write(c.config.Refusal(fault))
	return io.EOF
}

// waitAnswered waits until every delivered request has had its answer, so that the
// refusal does not land inside another message. net/http reads ahead while a
// handler runs, and gives up by a read deadline in the past.
func (c *ServerConn) waitAnswered() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.tap.Waiting() > 0 {
		if !c.deadline.IsZero() && time.Until(c.deadline) <= 0 {
			return os.ErrDeadlineExceeded
		}
		if c.closed {
			return net.ErrClosed
		}
		c.wait()
	}

	return nil
}

// Write sends bytes of responses.
func (c *ServerConn) Write(p []byte) (int, error) {
	if err := c.handshake(); err != nil {
		return 0, err
	}

	c.tap.Answering()
	n, err := c.tls.Write(p)
	c.tap.Responses(p[:n])
	c.mu.Lock()
	c.wake.Broadcast()
	c.mu.Unlock()

	return n, err
}

// Bounds of what is read from a peer that still sends when its connection is closed.
const (
	lingerTime  = 10 * time.Second
	lingerIdle  = time.Second // without a byte
	lingerBytes = 256 << 20
)

// Close ends the connection and reports what was unfinished on it.
func (c *ServerConn) Close() error {
	c.mu.Lock()
	first := !c.closed
	c.closed = true
	c.wake.Broadcast()
	c.mu.Unlock()
	if !first {
		return net.ErrClosed
	}

	c.tap.End()
	if c.refused.Load() || c.partial.Load() {
		go c.linger()
		return nil
	}

	return c.tls.Close()
}

// CloseWrite ends the sending side, so that the peer sees the end of the answer.
func (c *ServerConn) CloseWrite() error {
	err := c.tls.CloseWrite()
	if t, ok := c.raw.(interface{ CloseWrite() error }); ok {
		err = errors.Join(err, t.CloseWrite())
	}
	return err
}

// linger reads on from a peer that may still be sending a request, for a while:
// bytes that nobody reads turn a close into a reset, and a reset destroys the answer
// before the peer has read it (RFC 9112 9.6).
func (c *ServerConn) linger() {
	defer c.raw.Close()
	c.raw.SetWriteDeadline(time.Now().Add(lingerIdle)) // ends a Write that is under way
	c.CloseWrite()

	end := time.Now().Add(lingerTime)
	b := make([]byte, 32<<10)
	for left := lingerBytes; left > 0; {
		idle := time.Now().Add(lingerIdle)
		if idle.After(end) {
			idle = end
		}
		c.raw.SetReadDeadline(idle)
		n, err := c.raw.Read(b)
		if err != nil {
			return
		}

		left -= n
	}
}

// LocalAddr returns the address that was dialled.
func (c *ServerConn) LocalAddr() net.Addr {
	return c.raw.LocalAddr()
}

// RemoteAddr returns the peer's address, or the one that its PROXY header carries.
func (c *ServerConn) RemoteAddr() net.Addr {
	if c.proxied {
		c.handshake()
	}
	return c.remote
}

// SetDeadline sets both deadlines.
func (c *ServerConn) SetDeadline(t time.Time) error {
	c.noteDeadline(t)
	return c.tls.SetDeadline(t)
}

// SetReadDeadline sets the read deadline.
func (c *ServerConn) SetReadDeadline(t time.Time) error {
	c.noteDeadline(t)
	return c.tls.SetReadDeadline(t)
}

// SetWriteDeadline sets the write deadline.
func (c *ServerConn) SetWriteDeadline(t time.Time) error {
	return c.tls.SetWriteDeadline(t)
}

// noteDeadline makes a reader that waits in waitAnswered obey the deadline too.
// net/http moves it several times for each request, and hardly any reader waits:
// it is that reader who sets a timer.
func (c *ServerConn) noteDeadline(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	c.wake.Broadcast()
}

// wait waits for what wakes, which the read deadline does too. The caller holds mu.
func (c *ServerConn) wait() {
	if !c.deadline.IsZero() {
		defer time.AfterFunc(time.Until(c.deadline), c.wakeUp).Stop()
	}
	c.wake.Wait()
}

func (c *ServerConn) wakeUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wake.Broadcast()
}

// refusal is the default answer to a fault.
func refusal(e *Error) []byte {
	line := "400 Bad Request"
	switch e.Status {
	case 417:
		line = "417 Expectation Failed"
	case 421:
		line = "421 Misdirected Request"
	case 431:
		line = "431 Request Header Fields Too Large"
	case 505:
		line = "505 HTTP Version Not Supported"
	}

	return []byte("HTTP/1.1 " + line + "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

// CopyOf returns what the request of a handler's context is copied to; nil when that is
// nothing.
func CopyOf(ctx context.Context) Copy {
	if s, ok := ctx.Value(connKey{}).(*ServerConn); ok {
		return s.tap.copyOfFirst()
	}
	return nil
}

type connKey struct{}

// ConnContext is for http.Server.ConnContext: it lets Handler find the connection.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if s, ok := c.(*ServerConn); ok {
		return context.WithValue(ctx, connKey{}, s)
	}
	return ctx
}

// Handler sets Request.TLS from the connection that ConnContext kept.
func Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s, ok := r.Context().Value(connKey{}).(*ServerConn); ok {
			r.TLS = s.sharedState()
		}
		next.ServeHTTP(w, r)
	})
}
