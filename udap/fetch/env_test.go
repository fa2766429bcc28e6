package fetch

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fhirdest.example/udap"
)

// patience is how long a test waits for what must come, on a busy machine too.
const patience = 2 * time.Minute

// epoch is the hour at which the tests' clocks start.
var epoch = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// clock is a clock that a test moves.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: epoch} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// authority is a certification authority that signs lists.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newAuthority(t *testing.T, name string, usage x509.KeyUsage) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: name},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              usage,
		NotBefore:             epoch.Add(-time.Hour),
		NotAfter:              epoch.AddDate(1, 0, 0),
		SubjectKeyId:          []byte(name),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}

	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

func signer(t *testing.T, name string) *authority {
	return newAuthority(t, name, x509.KeyUsageCertSign|x509.KeyUsageCRLSign)
}

// list signs a list with a number, valid for life from thisUpdate on.
func (a *authority) list(
	t *testing.T, number int64, thisUpdate time.Time, life time.Duration, revoked ...int64,
) []byte {
	t.Helper()
	tmpl := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: thisUpdate, NextUpdate: thisUpdate.Add(life)}
	for _, r := range revoked {
		tmpl.RevokedCertificateEntries = append(tmpl.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: big.NewInt(r), RevocationTime: thisUpdate})
	}

	issuer := *a.cert
	issuer.KeyUsage |= x509.KeyUsageCRLSign // CreateRevocationList insists; a test may want one signed without it
	der, err := x509.CreateRevocationList(rand.Reader, tmpl, &issuer, a.key)
	if err != nil {
		t.Fatal(err)
	}

	return der
}

// listServer is a real HTTP server for one list, whose answer a test changes.
type listServer struct {
	*httptest.Server
	hits   atomic.Int64
	mu     sync.Mutex
	answer http.HandlerFunc
}

func newListServer(t *testing.T, answer http.HandlerFunc) *listServer {
	t.Helper()
	p := &listServer{answer: answer}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.hits.Add(1)
		p.mu.Lock()
		h := p.answer
		p.mu.Unlock()
		h(w, r)
	}))

	t.Cleanup(p.Close)
	return p
}

func (p *listServer) serve(h http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = h
}

func bytesOf(b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(b) }
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func newSource(t *testing.T, c *clock, cfg Config) *Source {
	t.Helper()
	cfg.Now = c.now
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// one asks for the list of one URL.
func one(t *testing.T, s *Source, issuer *authority, urls ...string) udap.CRLAnswer {
	t.Helper()
	got := s.CRLs(context.Background(), udap.CRLQuery{Community: "urn:a", Issuer: issuer.cert, URLs: urls})
	if len(got) != 1 {
		t.Fatalf("%d answers, want 1", len(got))
	}
	return got[0]
}

func wantNumber(t *testing.T, a udap.CRLAnswer, number int64) {
	t.Helper()
	if a.Err != nil {
		t.Fatalf("no list: %v", a.Err)
	}
	if a.List.Number.Cmp(big.NewInt(number)) != 0 {
		t.Fatalf("list number %v, want %d", a.List.Number, number)
	}
}

func wantError(t *testing.T, a udap.CRLAnswer, text string) {
	t.Helper()
	if a.List != nil || a.Err == nil {
		t.Fatalf("got a list, want an error with %q", text)
	}
	if !bytes.Contains([]byte(a.Err.Error()), []byte(text)) {
		t.Fatalf("error %q does not say %q", a.Err, text)
	}
}

// canary is a listener that would see any connection.
type canary struct {
	net.Listener
	accepts atomic.Int64
}

func newCanary(t *testing.T) *canary {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &canary{Listener: l}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c.accepts.Add(1)
			_ = conn.Close()
		}
	}()

	t.Cleanup(func() { _ = l.Close() })
	return c
}

func (c *canary) port() string {
	_, port, _ := net.SplitHostPort(c.Addr().String())
	return port
}
