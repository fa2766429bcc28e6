package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"fhirdest.example/gateway"
	"fhirdest.example/gateway/wire"
)

// pki is one authority and a certificate for every name of the tests.
type pki struct {
	cert tls.Certificate
	pool *x509.CertPool
}

func newPKI(t testing.TB, names ...string) *pki {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber:          big.NewInt(time.Now().UnixNano()),
		Subject:               pkix.Name{CommonName: names[0]},
		DNSNames:              names,
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}

	leaf, _ := x509.ParseCertificate(der)
	p := &pki{cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool: x509.NewCertPool()}
	p.pool.AddCert(leaf)
	return p
}

func (p *pki) server() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{p.cert}, NextProtos: []string{"http/1.1"}}
}

func (p *pki) client(name string) *tls.Config {
	return &tls.Config{RootCAs: p.pool, ServerName: name, ClientSessionCache: tls.NewLRUClientSessionCache(32)}
}

// backend is a next hop that records raw bytes and answers by a script.
type backend struct {
	addr     string
	pki      *pki
	listener net.Listener
	held     *os.File // a second handle of its socket

	mu    sync.Mutex
	conns []*recorded
	live  int        // connections that have not ended
	ended *sync.Cond // of one of them
}

// recorded is one connection as the backend saw it.
type recorded struct {
	mu   sync.Mutex
	got  bytes.Buffer
	done bool // it ended, cleanly or not
	err  error
}

func (r *recorded) bytes() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got.String()
}

// tapped records what is read from it.
type tapped struct {
	*tls.Conn
	rec *recorded
}

func (c tapped) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.rec.mu.Lock()
	defer c.rec.mu.Unlock()
	c.rec.got.Write(p[:n])
	if err != nil {
		c.rec.done, c.rec.err = true, err
	}
	return n, err
}

// newBackend runs script for each connection, and closes it afterwards.
func newBackend(t testing.TB, script func(net.Conn)) *backend {
	t.Helper()
	b := &backend{pki: newPKI(t, "destination.localhost")}
	b.ended = sync.NewCond(&b.mu)
	b.serve(t, atPort(t), script)
	return b
}

// atPort listens at a port that nothing uses, below those that the kernel chooses itself:
// of these it lets go as soon as their socket no longer listens.
func atPort(t testing.TB) (l net.Listener) {
	t.Helper()
	var err error
	for range 1000 {
		l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20_000+mathrand.IntN(12_000)))
		if err == nil {
			return l
		}
	}
	t.Fatal(err)
	return nil
}

// deafen has the backend accept no more connections. Its port stays bound, so that
// nobody else gets it before the backend listens again.
func (b *backend) deafen(t testing.TB) {
	t.Helper()
	b.listener.Close()
	raw, err := b.held.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { err = syscall.Shutdown(int(fd), syscall.SHUT_RD) }); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// listen listens, again after deafen.
func (b *backend) listen(t testing.TB, address string, script func(net.Conn)) {
	t.Helper()
	tcp, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	b.serve(t, tcp, script)
}

// serve runs script for each connection to a listener.
func (b *backend) serve(t testing.TB, tcp net.Listener, script func(net.Conn)) {
	t.Helper()
	held, err := tcp.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}

	l := tls.NewListener(tcp, b.pki.server())
	b.addr, b.listener, b.held = l.Addr().String(), l, held
	t.Cleanup(func() {
		l.Close()
		held.Close()
	})

	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}

			b.count(1)
			go func() {
				defer b.count(-1)
				defer c.Close()
				if c.(*tls.Conn).Handshake() != nil {
					return
				}

				rec := &recorded{}
				b.mu.Lock()
				b.conns = append(b.conns, rec)
				b.mu.Unlock()
				script(tapped{c.(*tls.Conn), rec})
			}()
		}
	}()
}

// settle returns when every connection that was made has ended, those too that the
// backend has not met yet: they are before ours in the queue.
func (b *backend) settle(t testing.TB) {
	t.Helper()
	c, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	c.(*net.TCPConn).CloseWrite()
	io.Copy(io.Discard, c) // the backend closes, as there is no handshake
	b.mu.Lock()
	defer b.mu.Unlock()

	for b.live > 0 {
		b.ended.Wait()
	}
}

func (b *backend) count(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.live += n
	b.ended.Broadcast()
}

// all returns what arrived, one string for each connection that sent anything.
func (b *backend) all() (list []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.conns {
		if s := c.bytes(); s != "" {
			list = append(list, s)
		}
	}
	return list
}

// ok answers every request, read by net/http, with 200 and its number on this
// connection.
func ok(c net.Conn) {
	br := bufio.NewReader(c)
	for n := 1; ; n++ {
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}

		io.Copy(io.Discard, req.Body)
		body := req.Method + " " + req.RequestURI
		head := "HTTP/1.1 200 OK\r\nContent-Length: " + itoa(len(body)) + "\r\n\r\n"
		if req.Method == "HEAD" {
			body = ""
		}
		io.WriteString(c, head+body)
	}
}

func itoa(n int) string { return big.NewInt(int64(n)).String() }

// sink keeps evidence in memory.
type sink struct {
	mu    sync.Mutex
	lines []wire.Message
	err   error
	n     int
	owes  int // calls of Owe
}

func (s *sink) Owe(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owes += n
}

// owed returns the calls of Owe, and the lines that came of them.
func (s *sink) owed() (calls, lines int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.lines {
		if m.Owed {
			lines++
		}
	}
	return s.owes, lines
}

func (s *sink) Record(m *wire.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, *m)
	return s.err
}

func (s *sink) ConnID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	return "c" + itoa(s.n)
}

// connections returns how many clients had their connection accepted.
func (s *sink) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

func (s *sink) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// await returns the lines once there are n.
func (s *sink) await(t testing.TB, n int) (list []wire.Message) {
	t.Helper()
	eventually(t, "lines of evidence", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		list = append([]wire.Message(nil), s.lines...)
		return len(list) >= n
	})
	return list
}

// env is a gateway before a backend.
type env struct {
	t        testing.TB
	pki      *pki
	addr     string
	gw       *gateway.Gateway
	evidence *sink
	stop     context.CancelFunc
	ended    chan error
}

const (
	host  = "fhir.example"
	heads = " HTTP/1.1\r\nHost: " + host + "\r\n"
)

// newEnv starts a gateway with one route to b, after change.
func newEnv(t testing.TB, b *backend, change func(*gateway.Config)) *env {
	t.Helper()
	w := &env{
		t:        t,
		pki:      newPKI(t, host, "other.example", "delegate.localhost"),
		evidence: &sink{},
		ended:    make(chan error, 1),
	}
	cfg := gateway.Config{
		TLS:      w.pki.server(),
		Evidence: w.evidence,
		Now:      time.Now,
		Times:    long,
		Routes: []gateway.Route{{
			Name:     "acme",
			Hosts:    []string{host},
			Prefixes: []string{"/acme", "/.well-known/oauth-authorization-server/acme"},
			Next:     "https://destination.localhost",
			Dial:     []string{b.addr},
			TLS:      b.pki.client(""),
		}},
	}

	if change != nil {
		change(&cfg)
	}
	var err error
	if w.gw, err = gateway.New(cfg); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}

	w.addr = l.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	go func() { w.ended <- w.gw.Serve(ctx, l) }()
	t.Cleanup(stop)

	return w
}

// dial connects as a client.
func (w *env) dial() *tls.Conn {
	w.t.Helper()
	c, err := tls.Dial("tcp", w.addr, &tls.Config{RootCAs: w.pki.pool, ServerName: host})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// ask sends raw bytes and returns everything until the gateway closes, or has answered
// n times.
func (w *env) ask(in string) string {
	w.t.Helper()
	c := w.dial()
	io.WriteString(c, in)
	c.CloseWrite()
	b, _ := io.ReadAll(c)
	return string(b)
}

// status is the first answer's.
func status(answer string) string {
	if f := strings.Fields(answer); len(f) > 1 && strings.HasPrefix(f[0], "HTTP/") {
		return f[1]
	}
	return ""
}

// patience is how long a test waits for what must come: it ends a test that hangs, and
// is no measure of anything.
const patience = 2 * time.Minute

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if is() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

// atSomePace tries what needs the machine to keep a pace, ever slower, until it goes
// well: a machine that is busy shows the same as a quick one, later.
func atSomePace(t testing.TB, first time.Duration, try func(pace time.Duration) error) {
	t.Helper()
	var err error
	for pace := first; pace <= 100*first; pace *= 3 {
		if err = try(pace); err == nil {
			return
		}
	}
	t.Error(err)
}
