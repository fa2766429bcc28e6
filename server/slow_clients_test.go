package server_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"fhirdest.example/server/servertest"
)

// dial opens a TLS connection to the destination, whose receive buffer is small
// so that a reader that reads nothing is noticed.
func dial(t *testing.T, d *servertest.Destination) *tls.Conn {
	t.Helper()
	raw, err := net.Dial("tcp", d.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	if err := raw.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}

	c := tls.Client(raw, d.TLSClient("fhir.test"))
	_ = c.SetDeadline(time.Now().Add(5 * time.Minute))
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}

	return c
}

// line reads one line.
func line(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	s, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(s)
}

// honest sends requests of both services and fails unless each is answered as
// on an idle server.
func honest(t *testing.T, d *servertest.Destination, s *servertest.Session) {
	t.Helper()
	if res, _ := d.Get(metadata); res.StatusCode != 200 {
		t.Errorf("metadata: %s", res.Status)
	}
	if res, _ := d.Get("/acme/fhir/Patient", "Authorization", "Bearer "+s.Token.Access); res.StatusCode != 200 {
		t.Errorf("a search: %s", res.Status)
	}
	res := d.Do(http.MethodPost, token, strings.NewReader("grant_type=client_credentials"),
		"Content-Type", "application/x-www-form-urlencoded")
	if res.StatusCode != 400 {
		t.Errorf("a token request without assertion: %s", res.Status)
	}
}

// A request that has not arrived whole, and an answer that is not read, hold
// nothing that other clients need.
func TestSlowClientsHoldNoSlots(t *testing.T) {
	post := "POST %s HTTP/1.1\r\nHost: fhir.test\r\nContent-Type: %s\r\nExpect: 100-continue\r\n%s\r\n"
	for _, c := range []struct {
		name   string
		slots  int // 0: the default
		slow   int // clients
		expect string
		text   func(s *servertest.Session) string
	}{
		{"520 token requests without a body", 0, 520, "HTTP/1.1 100 Continue", func(*servertest.Session) string {
			return fmt.Sprintf(post, token, "application/x-www-form-urlencoded", "Content-Length: 100\r\n")
		}},
		{"chunked token requests", 4, 10, "HTTP/1.1 100 Continue", func(*servertest.Session) string {
			return fmt.Sprintf(post, token, "application/x-www-form-urlencoded", "Transfer-Encoding: chunked\r\n")
		}},
		{"registrations", 4, 10, "HTTP/1.1 100 Continue", func(*servertest.Session) string {
			return fmt.Sprintf(post, "/acme/oauth/register", "application/json", "Content-Length: 100\r\n")
		}},
		{"uploads", 4, 10, "HTTP/1.1 100 Continue", func(s *servertest.Session) string {
			return fmt.Sprintf(post, "/acme/fhir/Patient", "application/fhir+json",
				"Content-Length: 100\r\nAuthorization: Bearer "+s.Token.Access+"\r\n")
		}},
		{"searches by POST", 4, 10, "HTTP/1.1 100 Continue", func(s *servertest.Session) string {
			return fmt.Sprintf(post, "/acme/fhir/Patient/_search", "application/x-www-form-urlencoded",
				"Content-Length: 100\r\nAuthorization: Bearer "+s.Token.Access+"\r\n")
		}},
		{"readers that never read", 4, 10, "HTTP/1.1 ", func(*servertest.Session) string {
			return strings.Repeat(probe, 500)
		}},
		{"readers of FHIR that never read", 4, 10, "HTTP/1.1 ", func(s *servertest.Session) string {
			return strings.Repeat("GET /acme/fhir/Patient HTTP/1.1\r\nHost: fhir.test\r\nAuthorization: Bearer "+
				s.Token.Access+"\r\n\r\n", 500)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := servertest.Start(t, func(w *servertest.Env) {
				w.Config.Limits.Requests, w.Config.Limits.TokenRequests = c.slots, c.slots
				w.Config.Limits.RequestsPerAddress = c.slots // all come from one here
				w.Config.Timeouts.Slow = 10 * time.Minute    // they must not be ended while this looks
				w.Config.Timeouts.Read, w.Config.Timeouts.Write = 10*time.Minute, 10*time.Minute
			})
			slow := d.Session(d.A, d.Client(d.A, "https://client.test/slow"), "system/Patient.rs")
			other := d.Session(d.A, d.Client(d.A, "https://client.test/other"), "system/Patient.rs")

			var all sync.WaitGroup
			for range c.slow {
				conn := dial(t, d)
				all.Go(func() {
					_, _ = io.WriteString(conn, c.text(slow)) // the server may stop reading
				})
				if got := line(t, bufio.NewReaderSize(conn, 16)); !strings.HasPrefix(got, c.expect) {
					t.Fatalf("the handler does not run: %q", got)
				}
				t.Cleanup(func() { conn.NetConn().Close() })
			}

			for range 3 {
				honest(t, d, other)
			}
		})
	}
}

// A body that arrives more slowly than the least rate ends with 408, and its
// connection with it.
func TestSlowBodiesAreEnded(t *testing.T) {
	d := servertest.Start(t)
	s := d.Session(d.A, d.Client(d.A, "https://client.test/slow"), "system/Patient.rs")
	d.Config.Timeouts.Slow, d.Config.Limits.Rate = 100*time.Millisecond, 100
	d = d.Restart()
	bearer := "Authorization: Bearer " + s.Token.Access + "\r\n"

	for name, head := range map[string]string{
		"token":         post("Content-Length: 100\r\n"),
		"token, chunks": post("Transfer-Encoding: chunked\r\n") + "1\r\n",
		"introspect":    strings.Replace(post("Content-Length: 100\r\n"), "/token", "/introspect", 1),
		"revoke":        strings.Replace(post("Content-Length: 100\r\n"), "/token", "/revoke", 1),
		"register": strings.Replace(strings.Replace(post("Content-Length: 100\r\n"), "/token", "/register", 1),
			"x-www-form-urlencoded", "json", 1),
		"search": strings.Replace(post(bearer+"Content-Length: 100\r\n"), token, "/acme/fhir/Patient/_search", 1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := d.Raw(head + "a")
			if got := answers(t, text); len(got) != 1 || got[0] != 408 {
				t.Errorf("answers %v, want 408\n%s", got, text)
			}
			if !strings.Contains(text, "Connection: close\r\n") || !strings.Contains(text, "Trace-Id: ") {
				t.Errorf("no Connection: close or no Trace-Id\n%s", text)
			}
		})
	}
}
