package answer_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/fault/answer"
	"fhirdest.example/udap/trace"
)

// front stands between clients and a destination: it puts a fault into answers and
// keeps what was exchanged, as a session of the lab does.
type front struct {
	tools   answer.Tools
	backend http.Handler

	mu    sync.Mutex
	fault http.Handler // decorates backend; nil: nothing does
	kept  []*conform.Exchange
	busy  sync.WaitGroup
	clock func() time.Time // nil: that of the machine, moved
	moved atomic.Int64     // of the clock
}

// choose puts a fault into answers and forgets what was exchanged.
func (f *front) choose(fault *answer.Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kept, f.fault = nil, nil
	if fault != nil {
		f.fault = fault.Apply(f.backend, f.tools)
	}
}

// exchanges returns what was exchanged, once every answer has ended.
func (f *front) exchanges() []*conform.Exchange {
	f.busy.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.kept
}

func (f *front) now() time.Time {
	if f.clock != nil {
		return f.clock()
	}
	return time.Now().Add(time.Duration(f.moved.Load()))
}

// mark is the exchange of a request, by which the decorator's hook finds it.
type mark struct {
	http.ResponseWriter
	e *conform.Exchange
}

func (m *mark) WriteHeader(status int) {
	m.e.Status = status
	m.ResponseWriter.WriteHeader(status)
}

func (m *mark) Write(p []byte) (int, error) {
	if m.e.Status == 0 {
		m.e.Status = http.StatusOK
	}
	m.e.Answer.Body = append(m.e.Answer.Body, p...)
	return m.ResponseWriter.Write(p)
}

func (m *mark) Unwrap() http.ResponseWriter { return m.ResponseWriter }

// exchangeKey is where a request's context has its exchange.
type exchangeKey struct{}

func applied(r *http.Request, fault string) {
	e := r.Context().Value(exchangeKey{}).(*conform.Exchange)
	e.Fault = fault
	e.FaultFrom = r.Context().Value(clockKey{}).(func() time.Time)()
}

// clockKey is where a request's context has the clock.
type clockKey struct{}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e := f.record(r)
	f.mu.Lock()
	f.busy.Add(1)
	e.N = uint64(len(f.kept) + 1)
	f.kept = append(f.kept, e)
	to := f.fault
	f.mu.Unlock()

	if to == nil {
		to = f.backend
	}

	defer func() { // a cut answer panics
		e.Answered = f.now()
		f.busy.Done()
	}()
	if strings.Contains(r.URL.Path, "/elsewhere/") {
		http.NotFound(w, r)
		return
	}
	ctx := context.WithValue(r.Context(), exchangeKey{}, e)
	to.ServeHTTP(&mark{w, e}, r.WithContext(context.WithValue(ctx, clockKey{}, f.now)))
}

// record keeps a request.
func (f *front) record(r *http.Request) *conform.Exchange {
	body, _ := io.ReadAll(r.Body) // what arrived counts
	r.Body = io.NopCloser(bytes.NewReader(body))
	var head bytes.Buffer
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\n", r.Method, r.RequestURI)
	_ = r.Header.Write(&head) // to memory

	e := &conform.Exchange{
		Received: f.now(),
		Conn:     r.RemoteAddr,
		Method:   r.Method,
		Target:   r.RequestURI,
		Request: conform.Message{
			Head: head.Bytes(),
			Body: body,
		},
	}
	e.Step = step(e)
	return e
}

// step is what a client wants by a request.
func step(e *conform.Exchange) conform.Step {
	target, _, _ := strings.Cut(e.Target, "?")
	last := target[strings.LastIndexByte(target, '/')+1:]
	switch {
	case strings.Contains(target, "/.well-known/"), last == "jwks", last == "userinfo":
		return conform.Discover
	case last == "register":
		return conform.Register
	case last == "authorize":
		return conform.Authorize
	case last == "token":
		return conform.Token
	case strings.HasSuffix(last, ".crl"), strings.Contains(target, "unsigned-endpoint"):
		return conform.Other
	}
	return conform.Read
}

// proxy passes requests to an address under the names of their URLs.
func proxy(transport http.RoundTripper) http.Handler {
	return &httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(&url.URL{Scheme: "https", Host: p.In.Host})
			p.Out.Host = p.In.Host
		},
	}
}

// destination is a real one behind a front.
type destination struct {
	*servertest.Destination
	*front
	t *testing.T
}

func newDestination(t *testing.T) *destination {
	t.Helper()
	f := &front{}
	d := &destination{
		front: f,
		t:     t,
		Destination: servertest.Start(t, func(w *servertest.Env) {
			w.Now = f.now
			w.Config.Patients = 3
		}),
	}
	f.backend = proxy(d.HTTP.Transport)

	s := httptest.NewUnstartedServer(f)
	pair, err := tls.LoadX509KeyPair(filepath.Join(d.Dir, "tls.pem"), filepath.Join(d.Dir, "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	s.Config.ErrorLog = nil
	s.StartTLS()
	t.Cleanup(s.Close)
	d.Addr = s.Listener.Addr().String()

	f.tools = answer.Tools{
		Base:      d.Base,
		Issuer:    d.Issuer,
		Now:       f.now,
		Elsewhere: s.URL,
		Applied:   applied,
		Communities: []answer.Community{
			d.member("a", servertest.URIA, d.A),
			d.member("b", servertest.URIB, d.B),
		},
	}
	return d
}

// member is a community of the destination as a lab has it.
func (d *destination) member(name, uri string, c *certs.Community) answer.Community {
	d.t.Helper()
	own, err := certs.LoadIdentity(filepath.Join(d.Dir, name+".pem"), filepath.Join(d.Dir, name+".key"))
	if err != nil {
		d.t.Fatal(err)
	}
	return answer.Community{
		URI:     trace.CommunityURI(uri),
		Issuing: c.Issuing,
		CRL:     d.Lists.URL + "/" + name + ".crl",
		Own:     own,
	}
}
