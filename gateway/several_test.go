package gateway_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fhirdest.example/gateway"
)

// several makes the backends the addresses of the next hop, after others.
func several(backends []*backend, others ...string) func(*gateway.Config) {
	return func(c *gateway.Config) {
		pool := x509.NewCertPool()
		c.Routes[0].Dial = others
		for _, b := range backends {
			pool.AddCert(b.pki.cert.Leaf)
			c.Routes[0].Dial = append(c.Routes[0].Dial, b.addr)
		}
		c.Routes[0].TLS = &tls.Config{RootCAs: pool}
		c.Times = long
		c.Times.Retry = time.Hour
	}
}

// requests returns how many requests arrived at each backend.
func requests(backends []*backend) (n []int) {
	for _, b := range backends {
		n = append(n, strings.Count(strings.Join(b.all(), ""), "HTTP/1.1\r\n"))
	}
	return n
}

// session is one connection of a client.
type session struct {
	*tls.Conn
	br *bufio.Reader
}

func (w *env) session() *session {
	c := w.dial()
	return &session{c, bufio.NewReader(c)}
}

// get asks once, and returns the status.
func (s *session) get() int {
	io.WriteString(s, get)
	resp, err := http.ReadResponse(s.br, nil)
	if err != nil {
		return 0
	}
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// metrics returns the metrics.
func (w *env) metrics() string {
	var b bytes.Buffer
	w.gw.WriteMetrics(&b)
	return b.String()
}

// connections are those of each backend, as the metrics have them.
func (w *env) connections(backends []*backend) (n []int) {
	text := w.metrics()
	for _, b := range backends {
		var open int
		name := fmt.Sprintf("\ngateway_next_hop_connections{route=\"acme\",address=%q} ", b.addr)
		_, rest, _ := strings.Cut(text, name)
		fmt.Sscan(rest, &open)
		n = append(n, open)
	}
	return n
}

// up reports whether the metrics have an address in service.
func (w *env) up(address string) bool {
	return strings.Contains(w.metrics(), fmt.Sprintf("\ngateway_next_hop_up{route=\"acme\",address=%q} 1\n", address))
}

// Each new client goes to the address with the fewest connections, all stay where they are,
// and the evidence names the address on the lines of each request and its answer.
func TestFewestConnections(t *testing.T) {
	all := []*backend{newBackend(t, ok), newBackend(t, ok), newBackend(t, ok)}
	w := newEnv(t, all[0], several(all))
	var sessions []*session
	for range 9 {
		s := w.session()
		s.get()
		sessions = append(sessions, s)
	}
	if got := w.connections(all); !slices.Equal(got, []int{3, 3, 3}) {
		t.Fatalf("9 clients have %v connections", got)
	}

	at := map[string]string{} // address by connection
	for _, m := range w.evidence.await(t, 18) {
		if before, known := at[m.Conn]; m.Address == "" || known && before != m.Address {
			t.Errorf("connection %s went to %q and to %q", m.Conn, before, m.Address)
		}
		at[m.Conn] = m.Address
	}

	// Clients of one address leave: the next ones fill its place.
	for i, s := range sessions {
		if at["c"+itoa(i+1)] == all[1].addr {
			s.Close()
		}
	}
	eventually(t, "the second has none", func() bool { return w.connections(all)[1] == 0 })
	for range 2 {
		w.session().get()
	}
	if got := w.connections(all); !slices.Equal(got, []int{3, 2, 3}) {
		t.Errorf("then %v connections", got)
	}

	for i, s := range sessions {
		if at["c"+itoa(i+1)] != all[1].addr && s.get() != 200 {
			t.Errorf("client %d has lost its connection", i)
		}
	}
	if got := w.connections(all); !slices.Equal(got, []int{3, 2, 3}) {
		t.Errorf("in the end %v connections", got)
	}
}

// A route with one address has none in its evidence.
func TestOneAddressIsNotNamed(t *testing.T) {
	w := newEnv(t, newBackend(t, ok), nil)
	w.ask(get)
	for _, m := range w.evidence.await(t, 2) {
		if m.Address != "" {
			t.Errorf("it names %s", m.Address)
		}
	}
}

// An address that does not accept, for any reason, gets nothing of a request, which goes to
// another one, once; and it is out for a while.
func TestAddressThatDoesNotAccept(t *testing.T) {
	for name, c := range map[string]struct {
		serve  func(net.Conn) // nil: refused
		reason string
	}{
		"refused":    {nil, "connection refused"},
		"no TLS":     {func(c net.Conn) { io.WriteString(c, "220 mail\r\n220 mail\r\n") }, "does not speak TLS"},
		"ends":       {func(c net.Conn) { c.Close() }, "it ended the handshake"},
		"silent":     {func(net.Conn) {}, "no TLS handshake in time"},
		"other name": {tlsOnly(newPKI(t, "destination.localhost")), "its certificate is not valid"},
	} {
		t.Run(name, func(t *testing.T) {
			dead := "127.0.0.1:1"
			if c.serve != nil {
				dead = listen(t, c.serve)
			}
			try := func(connect time.Duration) error { return besideDead(t, dead, c.reason, connect) }

			if name == "silent" { // the live address must shake hands within the limit, too
				atSomePace(t, 200*time.Millisecond, try)
				return
			}
			if err := try(time.Hour); err != nil {
				t.Error(err)
			}
		})
	}
}

// besideDead asks at a dead address and a live one, which have some time to connect.
func besideDead(t *testing.T, dead, reason string, connect time.Duration) error {
	live := []*backend{newBackend(t, ok)}
	w := newEnv(t, live[0], func(cfg *gateway.Config) {
		several(live, dead)(cfg)
		cfg.Times.Connect = connect
	})

	const times = 6
	for range times {
		if got := w.ask(get); status(got) != "200" {
			return fmt.Errorf("within %v answered %q", connect, got)
		}
	}

	if n := requests(live); n[0] != times {
		return fmt.Errorf("%d requests arrived", n)
	}
	out := w.gw.Outages()
	if len(out) != 1 || out[0].Address != dead || !strings.Contains(out[0].Reason, reason) ||
		out[0].Next.Sub(out[0].Since) != time.Hour {
		return fmt.Errorf("out: %+v", out)
	}
	if w.up(dead) || !w.up(live[0].addr) || len(w.gw.Troubles()) > 0 {
		return fmt.Errorf("troubles %v, metrics:\n%s", w.gw.Troubles(), w.metrics())
	}
	return nil
}

// An address that shakes hands and closes its connections, at once or instead of an answer,
// has the fewest connections: it is out after the first of them, as else each new client
// would have it.
func TestAddressThatClosesItsConnections(t *testing.T) {
	for name, script := range map[string]func(net.Conn){
		"at once":              func(net.Conn) {},
		"instead of an answer": answering(""),
	} {
		t.Run(name, func(t *testing.T) {
			all := []*backend{newBackend(t, script), newBackend(t, ok)}
			w := newEnv(t, all[0], several(all))

			const clients = 8
			answered := 0
			for range clients {
				if w.session().get() == 200 {
					answered++
				}
			}

			if answered < clients-1 {
				t.Errorf("%d of %d clients are answered", answered, clients)
			}
			out := w.gw.Outages()
			if len(out) != 1 || out[0].Address != all[0].addr || !strings.Contains(out[0].Reason, "it close") {
				t.Errorf("out: %+v", out)
			}
			if n := requests(all); n[0] > 1 || n[1] != answered {
				t.Errorf("%v requests arrived", n)
			}
		})
	}
}

// An address that shakes hands and then closes its connections, or sends something unasked,
// is not let in again by an attempt: no client has to find that out.
func TestAddressThatClosesStaysOut(t *testing.T) {
	for name, c := range map[string]struct{ sends, reason string }{
		"closes": {"", "it closes new connections"},
		"sends":  {"HTTP/1.1 400 Bad Request\r\n\r\n", "it sends before it is asked"},
	} {
		t.Run(name, func(t *testing.T) {
			all := []*backend{newBackend(t, ok), newBackend(t, ok)}
			all[0].deafen(t)
			w := newEnv(t, all[0], func(cfg *gateway.Config) {
				several(all)(cfg)
				cfg.Times.Retry = time.Millisecond
			})
			for range 2 {
				w.session().get()
			}

			var attempts atomic.Int64
			all[0].listen(t, all[0].addr, func(conn net.Conn) {
				attempts.Add(1)
				io.WriteString(conn, c.sends)
			})
			eventually(t, "it is tried twice", func() bool { return attempts.Load() > 1 })
			for range 4 {
				if got := w.session().get(); got != 200 {
					t.Errorf("answered %d", got)
				}
			}
			if out := w.gw.Outages(); len(out) != 1 || out[0].Reason != c.reason {
				t.Errorf("out: %+v", out)
			}
		})
	}
}

// While every address closes its connections, each request goes to one of them, once.
func TestAllAddressesCloseTheirConnections(t *testing.T) {
	all := []*backend{newBackend(t, answering("")), newBackend(t, answering(""))}
	var log logbook
	w := newEnv(t, all[0], func(c *gateway.Config) {
		several(all)(c)
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
	})

	const clients = 20
	for range clients {
		if got := w.session().get(); got != 502 {
			t.Errorf("answered %d", got)
		}
	}
	if n := requests(all); n[0]+n[1] != clients || n[0] != n[1] {
		t.Errorf("%v requests arrived", n)
	}
	if lines := strings.Count(log.String(), "\n"); lines > 10 {
		t.Errorf("%d lines are logged:\n%s", lines, &log)
	}
}

// tlsOnly shakes hands and reads on.
func tlsOnly(p *pki) func(net.Conn) {
	return func(c net.Conn) {
		io.Copy(io.Discard, tls.Server(c, p.server()))
		c.Close()
	}
}

// An address that is out comes back by itself once it accepts again, without a client that
// waits for it.
func TestAddressComesBack(t *testing.T) {
	all := []*backend{newBackend(t, ok), newBackend(t, ok)}
	all[0].deafen(t)
	w := newEnv(t, all[0], func(c *gateway.Config) {
		several(all)(c)
		c.Times.Retry = time.Millisecond
	})
	for range 2 {
		w.session().get()
	}
	if got := w.connections(all); w.up(all[0].addr) || !slices.Equal(got, []int{0, 2}) {
		t.Fatalf("connections %v, metrics:\n%s", got, w.metrics())
	}

	all[0].listen(t, all[0].addr, ok)
	eventually(t, "it is in service again", func() bool { return w.up(all[0].addr) })
	eventually(t, "the attempt is over", func() bool { return w.connections(all)[0] == 0 })
	for range 2 {
		w.session().get()
	}
	if got := w.connections(all); !slices.Equal(got, []int{2, 2}) {
		t.Errorf("then %v connections", got)
	}
}

// A client stays with its connection while the address accepts no others, and is with
// another address only after that connection was closed.
func TestStreamStaysWithItsAddress(t *testing.T) {
	closing := make(chan bool)
	first := newBackend(t, func(c net.Conn) {
		go func() {
			<-closing
			c.Close()
		}()
		ok(c)
	})
	all := []*backend{first, newBackend(t, ok)}
	w := newEnv(t, first, several(all))

	s := w.session()
	s.get()
	first.deafen(t)
	for range 3 {
		w.session().get()
	}
	for range 5 {
		s.get()
	}
	if n := requests(all); w.up(first.addr) || !slices.Equal(n, []int{6, 3}) {
		t.Fatalf("%v requests arrived, %+v", n, w.gw.Outages())
	}

	close(closing)
	eventually(t, "its connection ends", func() bool { return w.connections(all)[0] == 0 })
	if got, n := s.get(), requests(all); got != 200 || !slices.Equal(n, []int{6, 4}) {
		t.Errorf("answered %d, %v requests arrived", got, n)
	}
}

// A request that an address has received and not answered goes to no other.
func TestNothingIsSentToTwoAddresses(t *testing.T) {
	for name, in := range map[string]string{
		"whole":                             post + "Content-Length: 3\r\n\r\nabc",
		"body to follow":                    post + "Content-Length: 3\r\n\r\na",
		"a method that could be sent again": get,
	} {
		t.Run(name, func(t *testing.T) {
			all := []*backend{newBackend(t, answering("")), newBackend(t, answering(""))}
			w := newEnv(t, all[0], several(all))
			c := w.dial()
			io.WriteString(c, in)
			if got, _ := io.ReadAll(c); status(string(got)) != "502" {
				t.Errorf("answered %q", got)
			}
			if n := requests(all); n[0]+n[1] != 1 {
				t.Errorf("%v requests arrived; out: %v", n, w.gw.Outages())
			}
		})
	}
}

// While all are out, each new client has the one tried whose failure was the longest ago:
// the first to accept serves, whatever Retry is.
func TestAllAddressesAreOut(t *testing.T) {
	all := []*backend{newBackend(t, ok), newBackend(t, ok), newBackend(t, ok)}
	for _, b := range all {
		b.deafen(t)
	}
	w := newEnv(t, all[0], several(all))
	for range 4 {
		if got := w.ask(get); status(got) != "502" || !strings.Contains(got, "connection refused") {
			t.Fatalf("answered %q", got)
		}
	}
	if out := w.gw.Outages(); len(out) != 3 {
		t.Errorf("out: %+v", out)
	}

	all[1].listen(t, all[1].addr, ok)
	answers := ""
	for range 3 {
		answers += status(w.ask(get)) + " "
	}
	if !strings.HasSuffix(answers, "200 ") || !w.up(all[1].addr) || len(w.gw.Outages()) != 2 {
		t.Errorf("answered %s; out: %+v", answers, w.gw.Outages())
	}
}

// Connections that are made in advance count as the others, and those to an address that is
// out are not used.
func TestPreconnectedToSeveral(t *testing.T) {
	all := []*backend{newBackend(t, ok), newBackend(t, ok)}
	w := newEnv(t, all[0], func(c *gateway.Config) {
		several(all)(c)
		c.Routes[0].Spares = 4
	})
	sessions := 0
	eventually(t, "four are ready beside those of clients", func() bool {
		n := w.connections(all)
		if n[0]+n[1] <= sessions { // the first, or those made in advance were too old before all were there
			w.session().get()
			sessions++
		}
		return n[0]+n[1] == sessions+4 && max(n[0], n[1])-min(n[0], n[1]) < 2
	})

	// Of the address that dies, they do not hurt: each client gets its answer.
	all[0].deafen(t)
	for range 12 {
		if s := w.session(); s.get() != 200 {
			t.Error("a client has no answer")
		}
	}
	n := requests(all)
	if n[0]+n[1] != sessions+12 || n[1] < 8 || w.up(all[0].addr) {
		t.Errorf("%v requests arrived; out: %+v", n, w.gw.Outages())
	}
}

// A reload keeps the count of connections, and what is out.
func TestAddressesAfterReload(t *testing.T) {
	all := []*backend{newBackend(t, ok), newBackend(t, ok), newBackend(t, ok)}
	all[2].deafen(t)
	var cfg gateway.Config
	w := newEnv(t, all[0], func(c *gateway.Config) {
		several(all)(c)
		cfg = *c
	})
	var sessions []*session
	for range 4 {
		s := w.session()
		s.get()
		sessions = append(sessions, s)
	}

	if err := w.gw.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if got := w.connections(all); w.up(all[2].addr) || !slices.Equal(got, []int{2, 2, 0}) {
		t.Errorf("%v connections; out: %+v", got, w.gw.Outages())
	}

	for _, s := range sessions {
		if s.get() != 200 {
			t.Error("a client has no answer")
		}
	}
	if got := w.connections(all); !slices.Equal(got, []int{2, 2, 0}) {
		t.Errorf("then %v connections", got)
	}
}

// The lists of addresses that are complained about.
func TestDialIsChecked(t *testing.T) {
	p := newPKI(t, host)
	for _, c := range []struct {
		dial []string
		want string
	}{
		{nil, ""},
		{[]string{"a:1", "b:1", "[::1]:1"}, ""},
		{[]string{}, "dial is an empty list"},
		{[]string{"a:1", ""}, `dial "" is not host:port`},
		{[]string{"a"}, `dial "a" is not host:port`},
		{[]string{"a:1", "b:1", "a:1"}, `dial has "a:1" twice`},
	} {
		t.Run(fmt.Sprint(c.dial), func(t *testing.T) {
			cfg := gateway.Config{TLS: p.server(), Now: time.Now, Routes: []gateway.Route{{
				Name:  "acme",
				Hosts: []string{host},
				Next:  "https://destination.localhost",
				Dial:  c.dial,
				TLS:   p.client(""),
			}}}
			err := cfg.Check()
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
		})
	}
}
