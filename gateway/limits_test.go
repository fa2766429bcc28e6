package gateway_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"fhirdest.example/gateway"
)

// Covers: case 312, 319
func TestTimeLimits(t *testing.T) {
	hang := make(chan bool)
	defer close(hang)
	b := newBackend(t, func(c net.Conn) {
		br := bufio.NewReader(c)
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}

		if strings.Contains(req.RequestURI, "begin") {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\nhalf")
		}
		<-hang
	})

	const short = 100 * time.Millisecond
	for name, c := range map[string]struct {
		times      gateway.Times // the one that is short: no other ends it
		in, status string
	}{
		"slow head":   {gateway.Times{Head: short}, "GET /acme HTTP/1.1\r\nHo", "408"},
		"idle":        {gateway.Times{Idle: short}, "", ""},
		"slow body":   {gateway.Times{Body: short}, post + "Content-Length: 10\r\n\r\nabc", "408"},
		"slow answer": {gateway.Times{FirstByte: short}, "GET /acme" + heads + "\r\n", "504"},
		"stalled":     {gateway.Times{Stall: short}, "GET /acme/begin" + heads + "\r\n", "200"},
	} {
		t.Run(name, func(t *testing.T) {
			conn := newEnv(t, b, func(cfg *gateway.Config) { cfg.Times, cfg.Limits.BodyRate = otherwiseLong(c.times), 1000 }).dial()
			io.WriteString(conn, c.in)
			got, err := io.ReadAll(conn)
			if status(string(got)) != c.status || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("answered %q, and %v", got, err)
			}
			if name == "stalled" && err == nil {
				t.Error("a stalled answer ends as if whole")
			}
		})
	}

	raw, err := net.Dial("tcp", newEnv(t, b, func(c *gateway.Config) { c.Times.Handshake = short }).addr)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()

	raw.SetDeadline(time.Now().Add(patience))
	if _, err := raw.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("silence instead of a handshake ends with %v", err)
	}
}

// One byte at a time is no progress in a body, but a slow steady one is.
//
// Covers: case 312
func TestBodyRate(t *testing.T) {
	b := newBackend(t, ok)
	// trickle sends so many pieces, or as many as are accepted.
	trickle := func(limit time.Duration, pieces, size int) string {
		w := newEnv(t, b, func(c *gateway.Config) {
			c.Times.Body = limit
			c.Limits.BodyRate = int64(200 / limit.Seconds()) // 200 bytes within each time limit
		})
		c := w.dial()
		fmt.Fprintf(c, "%sContent-Length: %d\r\n\r\n", post, pieces*size)
		go func() {
			for range pieces {
				if _, err := io.WriteString(c, strings.Repeat("x", size)); err != nil {
					return
				}
				time.Sleep(limit / 10)
			}
		}()

		got, _ := io.ReadAll(io.LimitReader(c, 20))
		return status(string(got))
	}
	if s := trickle(200*time.Millisecond, 1_000_000, 1); s != "408" {
		t.Errorf("a byte ten times within the limit ends with %q", s)
	}

	atSomePace(t, 400*time.Millisecond, func(limit time.Duration) error {
		if s := trickle(limit, 20, 100); s != "200" {
			return fmt.Errorf("100 bytes every %v end with %q", limit/10, s)
		}
		return nil
	})
}

// Slow heads and silent handshakes by the hundred (a tenth of the case): each ends in
// time, and one who asks beside them does not notice.
//
// Covers: case 312, 316
func TestManySlowClients(t *testing.T) {
	b := newBackend(t, ok)
	// One limit for each gateway: on a busy machine a handshake may take long.
	heads := newEnv(t, b, func(c *gateway.Config) {
		c.Times.Head, c.Times.Handshake = 300*time.Millisecond, patience
	})
	shakes := newEnv(t, b, func(c *gateway.Config) { c.Times.Handshake = 2 * time.Second })
	var kept *tls.Conn
	eventually(t, "a handshake within the limit", func() (ok bool) {
		var err error
		kept, err = tls.Dial("tcp", shakes.addr, &tls.Config{RootCAs: shakes.pki.pool, ServerName: host})
		return err == nil
	})
	defer kept.Close()

	const each = 250
	ended := make(chan string, 2*each)
	for range each {
		go func() { ended <- slowHead(heads) }()
		go func() { ended <- silentHandshake(shakes) }()
	}

	br := bufio.NewReader(kept)
	for range 20 {
		if got := heads.ask(get); status(got) != "200" {
			t.Errorf("beside slow heads: %q", got)
		}
		io.WriteString(kept, get)
		if resp, err := http.ReadResponse(br, nil); err != nil || resp.StatusCode != 200 {
			t.Fatal("beside silent handshakes: ", resp, err)
		} else if _, err := io.ReadAll(resp.Body); err != nil {
			t.Fatal(err)
		}
	}

	count := map[string]int{}
	for range 2 * each {
		count[<-ended]++
	}
	if count["408"] != each || count["cut"] != each {
		t.Errorf("they end as %v", count)
	}
	if got := strings.Join(b.all(), ""); strings.Count(got, "GET") != 40 {
		t.Errorf("the destination got %d requests", strings.Count(got, "GET"))
	}
}

// slowHead sends a part of a head, and returns the answer's status.
func slowHead(w *env) string {
	c, err := tls.Dial("tcp", w.addr, &tls.Config{RootCAs: w.pki.pool, ServerName: host})
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	io.WriteString(c, "GET /acme HTTP/1.1\r\nHo")
	got, _ := io.ReadAll(c)
	return status(string(got))
}

// silentHandshake connects, sends nothing, and returns how that ended.
func silentHandshake(w *env) string {
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if _, err = c.Read(make([]byte, 1)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return "cut"
	}
	return "left waiting"
}

// A reader that does not read is cut, and so is what was being sent to it.
//
// Covers: case 312
func TestStuckReader(t *testing.T) {
	ended := make(chan error, 1)
	b := newBackend(t, func(c net.Conn) {
		http.ReadRequest(bufio.NewReader(c))
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
		for {
			if _, err := c.Write(make([]byte, 1<<20)); err != nil {
				ended <- err
				return
			}
		}
	})
	w := newEnv(t, b, func(c *gateway.Config) { c.Times.Write = 200 * time.Millisecond })
	io.WriteString(w.dial(), "GET /acme"+heads+"\r\n")

	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("a client that reads nothing is waited for")
	}
}

// Covers: case 312
func TestLimitsPerAddress(t *testing.T) {
	b := newBackend(t, ok)
	w := newEnv(t, b, func(c *gateway.Config) {
		c.Limits = gateway.Limits{ConnectionsPerAddress: 3, RequestsPerSecond: 50, Burst: 5}
	})
	var held []*tls.Conn
	for range 3 {
		held = append(held, w.dial())
	}

	if _, err := tls.Dial("tcp", w.addr, &tls.Config{InsecureSkipVerify: true}); err == nil {
		t.Error("a fourth connection is taken")
	}
	start := time.Now()
	br := bufio.NewReader(held[0])

	for range 20 {
		io.WriteString(held[0], "GET /acme"+heads+"\r\n")
		resp, err := http.ReadResponse(br, nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatal(resp, err)
		}
		io.ReadAll(resp.Body)
	}

	// The gateway's clock may have been behind by another burst at the first of them.
	if d := time.Since(start); d < 190*time.Millisecond {
		t.Errorf("20 requests at 50 a second after 5 took %v", d)
	}
	held[1].Close()
	eventually(t, "its place is free", func() bool {
		c, err := tls.Dial("tcp", w.addr, &tls.Config{InsecureSkipVerify: true})
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// Draining: idle connections end at once, what is under way ends whole.
func TestDrain(t *testing.T) {
	step := make(chan bool)
	b := newBackend(t, func(c net.Conn) {
		http.ReadRequest(bufio.NewReader(c))
		<-step
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
		<-step
		io.WriteString(c, "done")
	})
	w := newEnv(t, b, nil)
	idle, busy := w.dial(), w.dial()
	io.WriteString(busy, "GET /acme"+heads+"\r\n")

	eventually(t, "the request is under way", func() bool { return len(b.all()) == 1 })
	eventually(t, "both have shaken hands", func() bool { return w.evidence.connections() == 2 })
	w.stop()
	if _, err := idle.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("an idle connection ends with %v", err)
	}
	if _, err := net.Dial("tcp", w.addr); err == nil {
		t.Error("new connections are taken")
	}

	if w.gw.Healthy() == nil {
		t.Error("it is ready")
	}
	step <- true
	step <- true
	if got, err := io.ReadAll(busy); err != nil || !strings.HasSuffix(string(got), "done") {
		t.Errorf("what was under way ends with %q, %v", got, err)
	}

	if err := <-w.ended; err != nil {
		t.Error(err)
	}
}

// Draining is bounded.
func TestDrainCuts(t *testing.T) {
	b := newBackend(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	w := newEnv(t, b, func(c *gateway.Config) { c.Times.Drain = 50 * time.Millisecond })
	c := w.dial()
	io.WriteString(c, "GET /acme"+heads+"\r\n")
	eventually(t, "the request is under way", func() bool { return len(b.all()) == 1 })
	w.stop()
	if err := <-w.ended; err == nil {
		t.Error("Serve does not say that it cut")
	}
}
