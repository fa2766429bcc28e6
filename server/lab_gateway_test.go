package server_test

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/gateway"
	"fhirdest.example/gateway/wire"
	"fhirdest.example/server/lab"
	"fhirdest.example/server/servertest"
)

// hop is a gateway's evidence.
type hop struct {
	mu   sync.Mutex
	seen []wire.Message
}

func (h *hop) Record(m *wire.Message) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen = append(h.seen, *m)
	return nil
}

func (h *hop) Owe(int) {}

func (h *hop) ConnID() string { return "g" }

func (h *hop) Err() error { return nil }

// requests returns the digests of the requests that went out.
func (h *hop) requests() map[string]bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := map[string]bool{}
	for _, m := range h.seen {
		if !m.Response {
			all[hex.EncodeToString(m.Out.Sum[:])] = true
		}
	}
	return all
}

// A session is reached through a gateway like all else: what it kept of a request is,
// byte for byte, what the gateway passed on, and its pages are there, too.
func TestSessionsAreReachedThroughAGateway(t *testing.T) {
	d := servertest.Start(t, servertest.Lab)
	s := d.OpenLab(lab.OpenRequest{})
	evidence := &hop{}
	front := through(t, d, evidence)

	o := front.At(s.Session).Session(d.A, d.Client(d.A, "https://client.test/a"), "system/Patient.rs")
	if _, err := o.Client.Get(context.Background(), "Patient?_count=1", o.Token.Access); err != nil {
		t.Fatal(err)
	}

	passed := evidence.requests()
	kept := s.Kept()
	if len(kept) != 4 {
		t.Errorf("%d exchanges", len(kept))
	}

	for _, k := range kept {
		if !passed[k.Request.SHA256] {
			t.Errorf("the gateway passed no request with the digest of %s", k.Target)
		}
	}

	page := strings.TrimPrefix(s.Session.Page, "https://fhir.test")
	for _, path := range []string{page, page + "api/session", page + "api/exchanges", "/acme/lab/"} {
		if res, _ := front.Get(path); res.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
}

// through starts a gateway before a destination, and returns the destination as it is
// reached there.
func through(t *testing.T, d *servertest.Destination, evidence gateway.Evidence) *servertest.Destination {
	t.Helper()
	front, _ := throughAll(t, d, evidence)
	return front
}

// throughAll is through for a destination and others of the same next hop.
func throughAll(
	t *testing.T, d *servertest.Destination, evidence gateway.Evidence, others ...*servertest.Destination,
) (*servertest.Destination, *gateway.Gateway) {
	t.Helper()
	addresses := []string{d.Addr}
	for _, other := range others {
		addresses = append(addresses, other.Addr)
	}
	id, err := certs.LoadIdentity(filepath.Join(d.Dir, "tls.pem"), filepath.Join(d.Dir, "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	g, err := gateway.New(gateway.Config{
		TLS: &tls.Config{
			Certificates: []tls.Certificate{id.TLS()},
			NextProtos:   []string{"http/1.1"},
		},
		Evidence: evidence,
		Now:      time.Now,
		Times:    gateway.Times{Retry: 10 * time.Millisecond},
		Routes: []gateway.Route{{
			Name:     "acme",
			Hosts:    []string{"fhir.test"},
			Prefixes: []string{"/acme", "/.well-known/oauth-authorization-server/acme"},
			Next:     "https://destination.test",
			Dial:     addresses,
			TLS:      d.TLSClient(""),
		}},
	})
	if err != nil {
		t.Fatal(err)
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}

	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		<-ended
	})

	front := *d
	front.Addr = l.Addr().String()
	front.HTTP = d.HTTPClient(front.Addr)
	return &front, g
}
