package gateway_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"fhirdest.example/gateway"
)

// reset ends a client's connection without a word.
func reset(c *tls.Conn) {
	c.NetConn().(*net.TCPConn).SetLinger(0)
	c.NetConn().Close()
}

// awaitMetric waits until a metric has a value.
func (w *env) awaitMetric(name string, value int) {
	w.t.Helper()
	eventually(w.t, fmt.Sprint(name, " is ", value), func() bool {
		var b bytes.Buffer
		w.gw.WriteMetrics(&b)
		return strings.Contains(b.String(), fmt.Sprintf("\n%s %d\n", name, value))
	})
}

// long are time limits that end nothing in a test.
var long = gateway.Times{
	Handshake: time.Hour,
	Head:      time.Hour,
	Idle:      time.Hour,
	Body:      time.Hour,
	Connect:   time.Hour,
	FirstByte: time.Hour,
	Stall:     time.Hour,
	Write:     time.Hour,
}

// otherwiseLong returns times with what is long in place of those that are not set.
func otherwiseLong(times gateway.Times) gateway.Times {
	some, rest := reflect.ValueOf(&times).Elem(), reflect.ValueOf(long)
	for i := range some.NumField() {
		if some.Field(i).IsZero() {
			some.Field(i).Set(rest.Field(i))
		}
	}
	return times
}

// Clients that were reset are noticed wherever they wait, and everything that is held for
// them is given up; one that has only ended its sending still gets its answer.
//
// Covers: case 312, 319
func TestClientsThatAreGone(t *testing.T) {
	for name, c := range map[string]struct {
		answer string // that comes before the wait
		in     string
	}{
		"before an answer":      {"", get},
		"after an interim one":  {"HTTP/1.1 103 Early Hints\r\n\r\n", get},
		"within an answer":      {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", get},
		"after a body":          {"", post + "Content-Length: 3\r\n\r\nabc"},
		"with more requests":    {"", get + get + get},
		"before 100 (Continue)": {"", post + "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			release := make(chan bool)
			b := newBackend(t, func(conn net.Conn) {
				http.ReadRequest(bufio.NewReader(conn))
				io.WriteString(conn, c.answer)
				<-release
				io.WriteString(conn, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
			})
			w := newEnv(t, b, func(cfg *gateway.Config) { cfg.Times = long })

			const clients = 8
			patient := w.dial()
			io.WriteString(patient, get)
			patient.CloseWrite()
			var conns []*tls.Conn

			for range clients {
				conn := w.dial()
				io.WriteString(conn, c.in)
				conns = append(conns, conn)
			}

			w.awaitMetric("gateway_upstreams", clients+1)
			eventually(t, "the requests arrive", func() bool { return len(b.all()) == clients+1 })

			for _, conn := range conns {
				reset(conn)
			}
			w.awaitMetric("gateway_connections", 1)
			w.awaitMetric("gateway_upstreams", 1)

			close(release)
			if got, _ := io.ReadAll(patient); !strings.Contains(string(got), c.answer) ||
				!strings.HasPrefix(string(got), "HTTP/1.1 ") {
				t.Errorf("a client that ended its sending is answered %q", got)
			}
		})
	}
}

// A client that has gone gives its turn to the next one of its address.
//
// Covers: case 312
func TestTurnsOfClientsThatAreGone(t *testing.T) {
	b := newBackend(t, ok)
	w := newEnv(t, b, func(c *gateway.Config) {
		c.Times = long
		c.Limits = gateway.Limits{RequestsPerSecond: 0.2, Burst: 1} // a turn every five seconds
	})
	if got := w.ask(get); status(got) != "200" {
		t.Fatalf("the first is answered %q", got)
	}

	var conns []*tls.Conn
	for range 40 {
		c := w.dial()
		io.WriteString(c, get)
		conns = append(conns, c)
	}

	w.awaitMetric("gateway_requests_delayed_total", len(conns))
	for _, c := range conns {
		reset(c)
	}
	w.awaitMetric("gateway_connections", 0)

	// 40 turns would last 200 s, more than the patience of a test.
	if got := w.ask(get); status(got) != "200" {
		t.Errorf("the next client is answered %q", got)
	}
}

// A connection that the next hop has closed is closed here too, while its client is idle,
// and the client's next request goes on a new one.
func TestUpstreamsThatWereClosed(t *testing.T) {
	b := newBackend(t, func(c net.Conn) { // it closes after one answer, without a word about that
		http.ReadRequest(bufio.NewReader(c))
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	})
	w := newEnv(t, b, func(c *gateway.Config) { c.Times = long })
	c := w.dial()
	br := bufio.NewReader(c)

	for i := range 2 {
		io.WriteString(c, get)
		resp, err := http.ReadResponse(br, nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("request %d: %v, %v", i, resp, err)
		}
		io.Copy(io.Discard, resp.Body)
		w.awaitMetric("gateway_upstreams", 0)
	}

	w.awaitMetric("gateway_connections", 1)
}

// One client connection with many routes has a few upstreams at once, those that it used
// last.
func TestUpstreamsOfOneClientAreBounded(t *testing.T) {
	b := newBackend(t, ok)
	const routes, most = 20, 8
	w := newEnv(t, b, func(c *gateway.Config) {
		c.Times = long
		for i := range routes {
			r := c.Routes[0]
			r.Name, r.Prefixes = itoa(i), []string{"/" + itoa(i)}
			c.Routes = append(c.Routes, r)
		}
	})
	c := w.dial()
	br := bufio.NewReader(c)

	for i := range 2 * routes {
		fmt.Fprintf(c, "GET /%d%s\r\n", i%routes, heads)
		resp, err := http.ReadResponse(br, nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("request %d: %v, %v", i, resp, err)
		}
		if body, _ := io.ReadAll(resp.Body); string(body) != fmt.Sprintf("GET /%d", i%routes) {
			t.Errorf("request %d is answered %q", i, body)
		}
	}

	w.awaitMetric("gateway_upstreams", most)
}

// A connection that was being made in advance when its route went out of force is closed.
func TestPreconnectedAfterReload(t *testing.T) {
	p := newPKI(t, "destination.localhost")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()

	var cfg gateway.Config
	w := newEnv(t, &backend{addr: l.Addr().String(), pki: p}, func(c *gateway.Config) {
		c.Times = long
		c.Routes[0].Spares = 1
		cfg = *c
	})
	go io.WriteString(w.dial(), get)
	first, second := accept(t, l), accept(t, l) // for the request, and in advance

	if err := w.gw.Reload(cfg); err != nil {
		t.Fatal(err)
	}

	for _, raw := range []net.Conn{first, second} {
		go func() {
			c := tls.Server(raw, p.server())
			io.WriteString(c, "")
			http.ReadRequest(bufio.NewReader(c))
			io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			io.Copy(io.Discard, c)
			c.Close()
		}()
	}

	w.awaitMetric("gateway_answers_total", 1)
	w.awaitMetric("gateway_upstreams", 0)
}

func accept(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
