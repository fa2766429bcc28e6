package servertest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"fhirdest.example/server"
	"fhirdest.example/server/postgres"
	"fhirdest.example/udap/client"
)

// Destination is a destination that runs.
type Destination struct {
	*Env
	Base   string       // public FHIR base URL
	Issuer string       // authorization server
	Addr   string       // where it listens
	Admin  string       // URL of its console
	Health string       // address of its listener for probes; empty: none
	HTTP   *http.Client // trusts its TLS certificate and dials it whatever the URL's host
	Log    *Buffer

	Endpoints server.Endpoints // all that it answers

	Proofs *client.Proofs          // to which its originators have their tokens bound; nil: bearer tokens
	Wrap   func(net.Conn) net.Conn // what originators put around their connections, inside TLS; nil: nothing

	listener net.Listener     // at Addr
	second   *Destination     // which answers every second request; nil: there is none
	front    *httptest.Server // at Addr, of two that answer in turn; nil: there is none
	stop     context.CancelFunc
	ended    chan error
	Reload   chan struct{}
}

// Buffer is a log that tests read.
type Buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// Start starts a destination in a new Env, after change, where given, has
// had its way with the configuration.
func Start(tb testing.TB, change ...func(*Env)) *Destination {
	tb.Helper()
	w := NewEnv(tb)
	l := w.Listen()
	for _, f := range change {
		f(w)
	}
	return w.Start(l)
}

// Start starts a destination as configured. It is stopped at the end of the
// test, which fails if the destination logged a panic.
func (w *Env) Start(l net.Listener) *Destination {
	w.tb.Helper()
	w.labDirectory()
	if !inTurn || w.alone || w.Config.TLS.ClientCA != "" || !postgres.IsURL(w.Config.Data) {
		return w.start(l)
	}
	d := w.start(w.socket())
	d.alternate(d.Beside(), l)
	return d
}

// Restart stops the destination, unless it is stopped, and starts it again at its address.
// Nobody else can have that meanwhile, unless it is stopped.
func (d *Destination) Restart() *Destination {
	d.tb.Helper()
	l := d.keepAddress()
	d.Stop()
	return d.Env.Start(l)
}

// keepAddress returns another listener at the destination's address.
func (d *Destination) keepAddress() net.Listener {
	d.tb.Helper()
	if d.stop == nil {
		l, err := net.Listen("tcp", d.Addr)
		d.must(err)
		return l
	}
	f, err := d.listener.(*net.TCPListener).File()
	d.must(err)
	defer f.Close()
	l, err := net.FileListener(f)
	d.must(err)
	return l
}

func (w *Env) start(l net.Listener) *Destination {
	w.tb.Helper()
	d := &Destination{
		Env:    w,
		Base:   Base,
		Issuer: strings.TrimSuffix(Base, "/fhir") + "/oauth",
		Addr:   l.Addr().String(),
		Log:    &Buffer{},
		ended:  make(chan error, 1),
		Reload: make(chan struct{}),

		listener: l,
	}
	deps := d.Deps()
	deps.Public, deps.Reload = l, d.Reload

	s, err := server.New(w.Config, deps)
	if err != nil {
		w.tb.Fatal(err)
	}
	d.Admin = s.AdminURL()
	d.Endpoints = s.Endpoints()
	if a := s.HealthAddr(); a != nil {
		d.Health = a.String()
	}

	d.HTTP = w.HTTPClient(d.Addr)
	ctx, cancel := context.WithCancel(context.Background())
	d.stop = cancel

	go func() { d.ended <- s.Run(ctx) }()
	w.tb.Cleanup(d.Stop)
	return d
}

// Eventually waits until something is so.
func (w *Env) Eventually(what string, is func() bool) {
	w.tb.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			w.tb.Fatalf("never: %s", what)
		}
	}
}

// Deps are the clock and the destination's log.
func (d *Destination) Deps() server.Deps {
	return server.Deps{
		Now: d.Now,
		Log: slog.New(slog.NewTextHandler(d.Log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

// Stop ends the destination and waits until it has let go of its files.
func (d *Destination) Stop() {
	d.tb.Helper()
	if d.stop == nil {
		return
	}

	if d.front != nil {
		d.front.Listener.Close() // what is under way ends with the destinations
		defer d.front.Close()
	}
	if d.second != nil {
		d.second.Stop()
	}
	d.HTTP.CloseIdleConnections()
	d.stop()
	d.stop = nil
	if err := <-d.ended; err != nil {
		d.tb.Errorf("the destination ended with: %v", err)
	}
	if log := d.Log.String(); strings.Contains(log, "panic") {
		d.tb.Errorf("the destination's log has a panic:\n%s", log)
	}
}

// HTTPClient makes a client that trusts the Env's TLS certificates and dials
// one address, whatever host a URL names.
func (w *Env) HTTPClient(addr string, own ...tls.Certificate) *http.Client {
	t := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, addr)
		},
		TLSClientConfig: w.TLSClient("", own...),
	}
	return &http.Client{
		Transport: t,
		Timeout:   patience,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
}

// TLSClient is the TLS configuration of a client that wants HTTP/1.1.
func (w *Env) TLSClient(serverName string, own ...tls.Certificate) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(w.TLS.Cert)
	return &tls.Config{
		RootCAs:      roots,
		ServerName:   serverName,
		NextProtos:   []string{"http/1.1"},
		Certificates: own,
	}
}

// patience is how long a test waits for what must come, on a busy machine too.
const patience = 2 * time.Minute

// Raw opens a TLS connection to the destination, writes text as it is, and
// returns all that comes back until the other side closes, which it must do.
func (d *Destination) Raw(text string) string {
	d.tb.Helper()
	c, err := tls.Dial("tcp", d.Addr, d.TLSClient("fhir.test"))
	if err != nil {
		d.tb.Fatal(err)
	}
	defer c.Close()

	_ = c.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(c, text) // a refusal may come before the end
	answer, err := io.ReadAll(c)   // however it closes
	if errors.Is(err, os.ErrDeadlineExceeded) {
		d.tb.Errorf("the connection is left open after %.100q", answer)
	}

	return string(answer)
}

// Do sends a request to a path under the public host, or to a whole URL.
// Headers are name, value pairs.
func (d *Destination) Do(
	method, target string, body io.Reader, header ...string,
) *http.Response {
	d.tb.Helper()
	if strings.HasPrefix(target, "/") {
		target = "https://fhir.test" + target
	}
	req, err := http.NewRequest(method, target, body)
	if err != nil {
		d.tb.Fatal(err)
	}

	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
			continue
		}
		req.Header.Add(header[i], header[i+1])
	}

	res, err := d.HTTP.Do(req)
	if err != nil {
		d.tb.Fatal(err)
	}
	d.tb.Cleanup(func() { res.Body.Close() })
	if res.StatusCode >= 500 {
		d.tb.Errorf("%s %s: %s", method, target, res.Status)
	}

	return res
}

// Get reads a whole answer.
func (d *Destination) Get(target string, header ...string) (*http.Response, string) {
	d.tb.Helper()
	res := d.Do(http.MethodGet, target, nil, header...)
	b, err := io.ReadAll(res.Body)
	if err != nil {
		d.tb.Fatal(err)
	}
	return res, string(b)
}
