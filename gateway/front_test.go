package gateway_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"fhirdest.example/gateway/wire"
)

// front is a destination's front, reached directly: wire's listener before net/http.
type front struct {
	addr     string
	pki      *pki
	evidence sink

	mu   sync.Mutex
	seen []string // requests whose body came whole
}

func newFront(t *testing.T) *front {
	t.Helper()
	f := &front{pki: newPKI(t, host)}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.addr = tcp.Addr().String()
	l := wire.NewListener(tcp, wire.ListenerConfig{
		TLS:    f.pki.server(),
		Now:    time.Now,
		ConnID: f.evidence.ConnID,
		Record: func(m *wire.Message) { f.evidence.Record(m) },
	})

	s := &http.Server{
		Handler:     wire.Handler(http.HandlerFunc(f.serve)),
		ConnContext: wire.ConnContext,
		ErrorLog:    log.New(io.Discard, "", 0),
	}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })

	return f
}

func (f *front) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, "", http.StatusBadRequest)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen = append(f.seen, fmt.Sprintf("%s %s %q", r.Method, r.RequestURI, body))
	w.Header().Set("Seen", "whole")
}

// ask is env.ask for the front.
func (f *front) ask(t *testing.T, in string) string {
	t.Helper()
	c, err := tls.Dial("tcp", f.addr, &tls.Config{RootCAs: f.pki.pool, ServerName: host})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	c.SetDeadline(time.Now().Add(patience))
	io.WriteString(c, in)
	c.CloseWrite()
	b, _ := io.ReadAll(c)
	return string(b)
}

// The destination itself, reached directly, accepts as many of the hostile requests as
// the gateway passes, and answers what cannot be framed with the same status.
//
// Covers: case 289, 290, 291, 292, 293, 296, 320
func TestHostileRequestsAtTheFront(t *testing.T) {
	f := newFront(t)
	// net/http answers by itself
	own := map[string]bool{
		"an OPTIONS with a body": true,
		"OPTIONS *":              true,
		"Upgrade to TLS":         true,
		"odd Expect":             true,
	}

	for name, c := range hostile {
		t.Run(name, func(t *testing.T) {
			// What hosts there are, and where they lead, the handler knows.
			routed := c.status == "404" || c.status == "421" && !strings.Contains(c.in, "://")
			if routed || own[name] || refusedByRoute[name] {
				return
			}

			pass := c.pass
			if name == "Upgrade to anything" {
				pass = 2 // net/http reads on as HTTP, whatever the field names
			}

			f.mu.Lock()
			f.seen = nil
			f.mu.Unlock()
			answer := f.ask(t, c.in)
			f.mu.Lock()
			if len(f.seen) != pass || strings.Count(answer, "\r\nSeen: whole\r\n") != pass {
				t.Errorf("the handler saw %q, want %d requests; answered %.300q", f.seen, pass, answer)
			}

			f.mu.Unlock()
			n := strings.Count(answer, "HTTP/1.1 "+c.status+" ")
			if c.status != "" && (n != 1 || strings.Count(answer, "HTTP/1.1 ") != pass+1) || c.status == "" &&
				strings.Count(answer, "HTTP/1.1 ") != pass {
				t.Errorf("want %q after %d answers, got %.300q", c.status, pass, answer)
			}
		})
	}
}

// refusedByRoute are well framed, and have a target that the gateway cannot route.
var refusedByRoute = map[string]bool{
	"absolute, one slash": true,
	"two stars":           true,
	"star with a query":   true,
	"authority form":      true,
}
