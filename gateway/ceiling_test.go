package gateway_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"fhirdest.example/gateway"
)

// Heads and bodies stay within the memory that there is for them: who needs a large
// buffer then is refused, others are served, and all is given back.
//
// Covers: case 312, 313
func TestMemoryIsBounded(t *testing.T) {
	for name, c := range map[string]struct{ piece, status string }{
		"heads":  {"GET /acme" + heads + "X: " + strings.Repeat("x", 60_000), "503"},
		"bodies": {post + "Content-Length: 1000000\r\n\r\n" + strings.Repeat("x", 100_000), ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t, ok)
			w := newEnv(t, b, func(c *gateway.Config) {
				c.Times = long
				c.Times.Head, c.Times.Drain = time.Hour, time.Millisecond
				c.Limits.Memory = 8 << 20
			})

			const clients = 100
			refused := make(chan string, clients)
			for range clients {
				conn := w.dial()
				io.WriteString(conn, c.piece)
				go func() {
					got, _ := io.ReadAll(conn)
					refused <- status(string(got))
				}()
			}

			if c.status != "" { // 100 heads of 64 KiB are more than 8 MiB
				if got := <-refused; got != c.status {
					t.Errorf("a large one is answered %q, want %s", got, c.status)
				}
			}

			for range 20 {
				if got := w.ask(get); status(got) != "200" {
					t.Fatalf("a small one is answered %q", got)
				}
				if u := w.gw.Usage(); u.Memory > u.MaxMemory || u.Memory == 0 || u.MaxMemory > 8<<20 {
					t.Fatalf("%+v", u)
				}
			}

			w.stop()
			<-w.ended
		})
	}
}

// A request that the next hop has acted on is not answered 503, which would have it sent
// again; and the next hop is not blamed.
//
// Covers: case 312
func TestAnswerBeyondTheMemory(t *testing.T) {
	b := newBackend(t, func(c net.Conn) {
		http.ReadRequest(bufio.NewReader(c))
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: "+strings.Repeat("x", 20_000)+"\r\n\r\n")
	})
	w := newEnv(t, b, func(c *gateway.Config) { c.Limits.Memory = 64 << 10 })

	got := w.ask(post + "Content-Length: 3\r\n\r\nabc")
	if status(got) != "502" || strings.Contains(got, "Retry-After") || !strings.Contains(got, "no memory") {
		t.Errorf("answered %q", got)
	}
	if list := w.gw.Troubles(); len(list) > 0 {
		t.Errorf("the next hop is blamed: %+v", list)
	}
}

// What clients held is given back, whatever way they ended.
func TestUsageReturnsToNothing(t *testing.T) {
	b := newBackend(t, ok)
	w := newEnv(t, b, func(c *gateway.Config) { c.Routes[0].Spares = 1 })
	for _, c := range refusals {
		w.ask(get + c.in)
	}
	for _, c := range hostile {
		w.ask(c.in)
	}

	for _, in := range awkward {
		c := w.dial()
		io.WriteString(c, in[:len(in)*2/3])
		reset(c)
	}

	w.awaitMetric("gateway_connections", 0)
	eventually(t, "nothing is held", func() bool { return w.gw.Usage().Memory == 0 })
	if u := w.gw.Usage(); u.Upstreams != 0 || u.Connections != 0 {
		t.Errorf("%+v", u)
	}
}

// Without a limit of connections there is one by default, that the memory has room for;
// those beyond it are closed at once, and the others are served.
//
// Covers: case 312
func TestConnectionsAreBoundedByDefault(t *testing.T) {
	b := newBackend(t, ok)
	w := newEnv(t, b, nil)
	if u := w.gw.Usage(); u.MaxConnections < 1 || u.MaxConnections > 10_000 || u.MaxUpstreams < u.MaxConnections {
		t.Errorf("by default: %+v", u)
	}

	small := newEnv(t, b, func(c *gateway.Config) { c.Limits.Memory = 1 << 20 })
	most := small.gw.Usage().MaxConnections
	if most < 5 || most > 100 {
		t.Fatalf("%d connections in 1 MiB", most)
	}
	var conns []*tls.Conn
	for range most {
		conns = append(conns, small.dial())
	}

	if _, err := tls.Dial("tcp", small.addr, &tls.Config{InsecureSkipVerify: true}); err == nil {
		t.Error("one more is accepted")
	}

	for i, c := range conns {
		io.WriteString(c, get)
		if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != 200 {
			t.Errorf("client %d: %v, %v", i, resp, err)
		}
	}
}

// A client that reads its answer, but below the least rate, is cut.
//
// Covers: case 312
func TestSlowReader(t *testing.T) {
	ended := make(chan error, 1)
	b := newBackend(t, func(c net.Conn) {
		http.ReadRequest(bufio.NewReader(c))
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", int64(1)<<40)
		for {
			if _, err := c.Write(make([]byte, 1<<20)); err != nil {
				ended <- err
				return
			}
		}
	})
	w := newEnv(t, b, func(c *gateway.Config) {
		c.Times, c.Times.Write = long, time.Second
		c.Limits.AnswerRate = 1 << 40
	})
	c := w.dial()
	io.WriteString(c, get)

	go func() {
		for buf := make([]byte, 16<<10); ; time.Sleep(time.Millisecond) {
			if _, err := c.Read(buf); err != nil {
				return
			}
		}
	}()

	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("it is waited for")
	}
}
