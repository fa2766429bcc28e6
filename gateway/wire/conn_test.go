package wire

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// selfSigned makes the certificate of localhost and its pool.
func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "localhost"},
		DNSNames:              []string{"localhost"},
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
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// messages gathers what taps report.
type messages struct {
	mu   sync.Mutex
	list []Message
}

func (m *messages) record(x *Message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list = append(m.list, *x)
}

// await returns the messages once there are n of them.
func (m *messages) await(t *testing.T, n int) []Message {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		m.mu.Lock()
		list := append([]Message(nil), m.list...)
		m.mu.Unlock()
		if len(list) >= n {
			return list
		}
		time.Sleep(5 * time.Millisecond)
	}

	t.Fatalf("%d messages, not %d: %+v", len(m.list), n, m.list)
	return nil
}

// patience is how long a test waits for what must come.
const patience = 2 * time.Minute

// env is a tapped net/http server and the address to reach it.
type env struct {
	addr string
	pool *x509.CertPool
	seen messages
	open atomic.Int64 // connections
}

// At every answer the records knew of it before, and in the
// end each message that was announced has its record, also where a client is gone
// before its answer, or in the middle of its request.
func TestNothingIsUnannounced(t *testing.T) {
	var owed atomic.Int64
	var recorded atomic.Int64
	gone := make(chan bool)
	w := serve(t, func(c *ListenerConfig) {
		record := c.Record
		c.Owe = func(n int) { owed.Add(int64(n)) }
		c.Record = func(m *Message) {
			if m.Owed {
				recorded.Add(1)
			}
			record(m)
		}
	}, func(rw http.ResponseWriter, r *http.Request) {
		if io.Copy(io.Discard, r.Body); owed.Load() < 1 {
			t.Error("a request is handled that was not announced")
		}
		if r.URL.Path == "/late" {
			<-gone
			for range 100 { // the first may still find room
				if _, err := rw.Write(make([]byte, 100_000)); err != nil {
					break
				}
			}
		}
	})
	c := w.dial(t)
	io.WriteString(c, "GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n")

	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if owed.Load() != 2 {
		t.Errorf("an answer came of which, with its request, %d messages were announced", owed.Load())
	}

	for _, in := range []string{
		"GET /late HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"POST /b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nab",
		"bad\r\n\r\n",
	} {
		c := w.dial(t)
		io.WriteString(c, in)
		c.NetConn().(*net.TCPConn).SetLinger(0)
		c.NetConn().Close()
	}

	close(gone)
	c.Close()
	for end := time.Now().Add(patience); owed.Load() != recorded.Load() ||
		w.open.Load() > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d messages announced and %d recorded, %d connections open", owed.Load(), recorded.Load(),
				w.open.Load())
		}
	}
}

// An answer that could not be sent at all is withdrawn.
func TestUnsentAnswerIsTakenBack(t *testing.T) {
	var owed, recorded int
	tap := NewTap("c", time.Now, func(*Message) { recorded++ })
	tap.owe = func(n int) { owed += n }
	tap.Requests([]byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"))
	tap.Answering()
	tap.End()
	if tap.Answering(); owed != 1 || recorded != 1 {
		t.Errorf("%d announced, %d recorded", owed, recorded)
	}
}

func serve(t *testing.T, change func(*ListenerConfig), h http.HandlerFunc) *env {
	t.Helper()
	cert, pool := selfSigned(t)
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &env{addr: tcp.Addr().String(), pool: pool}
	cfg := ListenerConfig{
		TLS:    &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}},
		Record: w.seen.record,
		ConnID: func() string { return "c" },
		Now:    time.Now,
	}

	if change != nil {
		change(&cfg)
	}
	s := &http.Server{
		Handler:     Handler(h),
		ConnContext: ConnContext,
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				w.open.Add(1)
			case http.StateClosed:
				w.open.Add(-1)
			}
		},
	}
	go s.Serve(NewListener(tcp, cfg))

	t.Cleanup(func() { s.Close() })
	return w
}

func (w *env) dial(t *testing.T) *tls.Conn {
	t.Helper()
	c, err := tls.Dial("tcp", w.addr, &tls.Config{RootCAs: w.pool, ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// Both ends tap the same exchange: the same digests, the TLS state, trailers, 100.
func TestBothEndsSeeTheSameBytes(t *testing.T) {
	w := serve(t, nil, func(rw http.ResponseWriter, r *http.Request) {
		if r.TLS == nil || r.TLS.ServerName != "localhost" {
			t.Error("the handler has no TLS state")
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		rw.Write(bytes.Repeat(body, 3))
	})

	var mine messages
	tr := &http.Transport{ExpectContinueTimeout: patience}
	tr.DialTLSContext = func(_ context.Context, network, _ string) (net.Conn, error) {
		c, err := tls.Dial(network, w.addr, &tls.Config{RootCAs: w.pool, ServerName: "localhost"})
		return Client(c, "o", time.Now, mine.record), err
	}
	defer tr.CloseIdleConnections()

	for _, size := range []int{1, 5000, 300_000} {
		req, _ := http.NewRequest("POST", "https://localhost/x", io.NopCloser(io.LimitReader(zeros{}, int64(size))))
		req.Header.Set("Expect", "100-continue")
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		if n, _ := io.Copy(io.Discard, resp.Body); n != int64(3*size) {
			t.Fatalf("%d bytes answer %d", n, size)
		}

		resp.Body.Close()
	}

	a, b := digests(mine.await(t, 9)), digests(w.seen.await(t, 9))
	for k, n := range a {
		if b[k] != n {
			t.Errorf("%+v: %d times at the client, %d at the server", k, n, b[k])
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type seen struct {
	response bool
	method   string
	status   int
	seq      uint64
	in, out  Digest
}

func digests(list []Message) map[seen]int {
	m := map[seen]int{}
	for _, x := range list {
		m[seen{x.Response, x.Method, x.Status, x.Seq, x.In, x.Out}]++
	}
	return m
}

// The digest is that of the very bytes, and pipelined requests are distinguished.
func TestDigestsOfRawBytes(t *testing.T) {
	w := serve(t, nil, func(rw http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })
	one := "POST /a HTTP/1.1\r\nhOST: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nab\r\n0\r\nT: u\r\n\r\n"
	two := "GET /b HTTP/1.1\r\nHost: localhost\r\n\r\n"
	c := w.dial(t)
	io.WriteString(c, one+two+two)
	list := w.seen.await(t, 6)
	want := []string{one, two, two}

	for _, m := range list {
		if m.Response {
			continue
		}
		if m.In.Sum != sha256.Sum256([]byte(want[m.Seq-1])) || m.In.Bytes != int64(len(want[m.Seq-1])) {
			t.Errorf("request %d: %+v", m.Seq, m)
		}
	}
}

// Covers: case 289, 290, 291, 292
func TestListenerRefuses(t *testing.T) {
	calls := 0
	w := serve(t, nil, func(rw http.ResponseWriter, r *http.Request) { calls++ })
	for in, status := range map[string]string{
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n": "400",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding:\tchunked\r\n\r\nabc":      "400",
		"GET / HTTP/1.1\nHost: a\n\n":                                          "400",
		"GET / HTTP/1.0\r\nHost: a\r\n\r\n":                                    "505",
		"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", MaxHead) + "": "431",
	} {
		t.Run(in, func(t *testing.T) {
			c := w.dial(t)
			io.WriteString(c, in)
			answer, _ := io.ReadAll(c)
			if !strings.HasPrefix(string(answer), "HTTP/1.1 "+status) {
				t.Errorf("%.60q is answered %q", in, answer)
			}
		})
	}

	if calls != 0 {
		t.Errorf("the handler was called %d times", calls)
	}
}

// An ambiguous request behind a good one that is still being handled: the good one is
// answered first and whole, and its context lives.
func TestRefusalWaitsItsTurn(t *testing.T) {
	gone := make(chan bool, 1)
	w := serve(t, nil, func(rw http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
			gone <- true
		case <-time.After(200 * time.Millisecond):
			gone <- false
		}
		io.WriteString(rw, "hello")
	})
	c := w.dial(t)
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"+"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")

	answer, _ := io.ReadAll(c)
	s := string(answer)
	if <-gone || !strings.HasPrefix(s, "HTTP/1.1 200") || strings.Count(s, "HTTP/1.1 ") != 2 ||
		!strings.Contains(s, "hello") || !strings.Contains(s, "HTTP/1.1 400") {
		t.Fatalf("answers: %q", s)
	}
}

// A fault inside a body reaches the handler as an error, not as a shorter body.
func TestFaultInBody(t *testing.T) {
	errs := make(chan error, 1)
	w := serve(t, nil, func(rw http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		errs <- err
		rw.WriteHeader(400)
	})
	c := w.dial(t)
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\nx\r\n")

	if err := <-errs; err == nil {
		t.Fatal("the handler got a whole body")
	}
	if answer, _ := io.ReadAll(c); !strings.HasPrefix(string(answer), "HTTP/1.1 400") {
		t.Fatalf("answered %q", answer)
	}
}

// Covers: case 316
func TestHandshakeHasADeadline(t *testing.T) {
	w := serve(t, func(c *ListenerConfig) { c.Handshake = 50 * time.Millisecond }, nil)
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("a silent peer is left with %v", err)
	}
}

func TestProxyHeader(t *testing.T) {
	src, dst := netip.MustParseAddrPort("192.0.2.7:1234"), netip.MustParseAddrPort("192.0.2.1:443")
	src6 := netip.MustParseAddrPort("[2001:db8::7]:99")
	for _, s := range []netip.AddrPort{src, src6} {
		r := bytes.NewReader(append(AppendProxy(nil, s, dst), "rest"...))
		got, err := ReadProxy(r)
		if err != nil || got.AddrPort().Addr().Unmap() != s.Addr() || got.AddrPort().Port() != s.Port() ||
			r.Len() != 4 {
			t.Errorf("%v is read as %v, %v, %d bytes left", s, got, err, r.Len())
		}
	}

	own := bytes.NewReader(append(AppendProxy(nil, netip.AddrPort{}, dst), "rest"...))
	got, err := ReadProxy(own)
	if rest, _ := io.ReadAll(own); got != nil || err != nil || string(rest) != "rest" {
		t.Errorf("a connection of the sender's own: %v, %v, then %q", got, err, rest)
	}

	b := AppendProxy(nil, src, dst)
	for name, b := range map[string][]byte{"short": b[:20], "signature": append([]byte("PROXY TCP4"), b[10:]...),
		"long": append(append([]byte{}, b[:14]...), 0xff, 0xff), "command": append(
			append(append([]byte{}, b[:12]...), 0x22), b[13:]...)} {
		t.Run(name, func(t *testing.T) {
			if a, err := ReadProxy(bytes.NewReader(b)); err == nil {
				t.Errorf("%s: read as %v", name, a)
			}
		})
	}
}

// The listener uses the address of the peers that may name one, and cuts them when they
// do not.
func TestListenerBelievesProxy(t *testing.T) {
	w := serve(t, func(c *ListenerConfig) { c.Proxy = func(net.Addr) bool { return true } },
		func(rw http.ResponseWriter, r *http.Request) { io.WriteString(rw, r.RemoteAddr) })
	raw, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()

	raw.Write(AppendProxy(nil, netip.MustParseAddrPort("192.0.2.7:1234"), netip.MustParseAddrPort("192.0.2.1:443")))
	c := tls.Client(raw, &tls.Config{RootCAs: w.pool, ServerName: "localhost"})
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := io.ReadAll(resp.Body); string(b) != "192.0.2.7:1234" {
		t.Errorf("the handler sees %q", b)
	}

	if _, err := tls.Dial("tcp", w.addr, &tls.Config{RootCAs: w.pool, ServerName: "localhost"}); err == nil {
		t.Error("a peer without the header it owes was served")
	}
}

// A reader that would refuse a request waits for the answer to the one before, but
// not beyond its deadline, whether that is moved before it waits or while it does.
func TestAWaitingReaderHasADeadline(t *testing.T) {
	done := make(chan bool)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cert, pool := selfSigned(t)
	served := NewListener(l, ListenerConfig{TLS: &tls.Config{Certificates: []tls.Certificate{cert}}})
	defer served.Close()

	go func() {
		defer close(done)
		c, err := served.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()

		const good = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
		if _, err := io.ReadFull(c, make([]byte, len(good))); err != nil {
			t.Error(err)
		}
		c.SetReadDeadline(time.Now().Add(time.Millisecond))
		if n, err := c.Read(make([]byte, 9)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("with a deadline that comes: %d, %v", n, err)
		}

		c.SetReadDeadline(time.Time{})
		time.AfterFunc(time.Millisecond, func() { c.SetReadDeadline(time.Unix(1, 0)) })
		if n, err := c.Read(make([]byte, 9)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("with a deadline that is moved into the past: %d, %v", n, err)
		}
	}()

	c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: pool, ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\nbad\r\n\r\n")
	<-done
}
