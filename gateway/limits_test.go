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
	w := newWorld(t, b, func(c *gateway.Config) {
		c.Times = gateway.Times{Handshake: 100 * time.Millisecond, Head: 100 * time.Millisecond, Idle: 100 * time.Millisecond, Body: 100 * time.Millisecond, FirstByte: 100 * time.Millisecond, Stall: 100 * time.Millisecond}
		c.Limits.BodyRate = 1000
	})
	for name, c := range map[string]struct{ in, status string }{
		"slow head":   {"GET /acme HTTP/1.1\r\nHo", "408"},
		"idle":        {"", ""},
		"slow body":   {post + "Content-Length: 10\r\n\r\nabc", "408"},
		"slow answer": {"GET /acme" + heads + "\r\n", "504"},
		"stalled":     {"GET /acme/begin" + heads + "\r\n", "200"},
	} {
		conn := w.dial()
		io.WriteString(conn, c.in)
		start := time.Now()
		got, err := io.ReadAll(conn)
		if status(string(got)) != c.status || time.Since(start) > 3*time.Second {
			t.Errorf("%s: answered %q after %v", name, got, time.Since(start))
		}
		if name == "stalled" && err == nil {
			t.Error("a stalled answer ends as if whole")
		}
	}
	raw, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(3 * time.Second))
	if _, err := raw.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("silence instead of a handshake ends with %v", err)
	}
}

// One byte at a time is no progress in a body, but a slow steady one is.
//
// Covers: case 312
func TestBodyRate(t *testing.T) {
	b := newBackend(t, ok)
	w := newWorld(t, b, func(c *gateway.Config) {
		c.Times = gateway.Times{Body: 200 * time.Millisecond}
		c.Limits.BodyRate = 1000 // 200 bytes within each time limit
	})
	trickle := func(piece string) string {
		c := w.dial()
		fmt.Fprintf(c, "%sContent-Length: %d\r\n\r\n", post, 20*len(piece))
		for range 20 {
			io.WriteString(c, piece)
			time.Sleep(40 * time.Millisecond)
		}
		c.CloseWrite()
		got, _ := io.ReadAll(c)
		return status(string(got))
	}
	if s := trickle("x"); s != "408" {
		t.Errorf("a byte every 40 ms ends with %q", s)
	}
	if s := trickle(strings.Repeat("x", 100)); s != "200" {
		t.Errorf("100 bytes every 40 ms end with %q", s)
	}
}

// Slow heads and silent handshakes by the hundred (a tenth of the case): each ends in
// time, and one who asks beside them does not notice.
//
// Covers: case 312, 316
func TestManySlowClients(t *testing.T) {
	b := newBackend(t, ok)
	w := newWorld(t, b, func(c *gateway.Config) {
		c.Times = gateway.Times{Head: 300 * time.Millisecond, Handshake: 2 * time.Second}
	})
	const each = 250
	ended := make(chan string, 2*each)
	for range each {
		go func() {
			c, err := tls.Dial("tcp", w.addr, &tls.Config{RootCAs: w.pki.pool, ServerName: host})
			if err != nil {
				ended <- err.Error()
				return
			}
			defer c.Close()
			io.WriteString(c, "GET /acme HTTP/1.1\r\nHo")
			got, _ := io.ReadAll(c)
			ended <- status(string(got))
		}()
		go func() {
			c, err := net.Dial("tcp", w.addr)
			if err != nil {
				ended <- err.Error()
				return
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(20 * time.Second))
			_, err = c.Read(make([]byte, 1))
			ended <- map[bool]string{true: "cut", false: "left waiting"}[err != nil && !errors.Is(err, os.ErrDeadlineExceeded)]
		}()
	}
	for range 20 {
		if got := w.ask("GET /acme" + heads + "\r\n"); status(got) != "200" {
			t.Errorf("beside them: %q", got)
		}
	}
	count := map[string]int{}
	for range 2 * each {
		count[<-ended]++
	}
	// On a busy machine a handshake itself may take longer than its limit here.
	if count["left waiting"] > 0 || count["408"] < each/2 || count["cut"] < each {
		t.Errorf("they end as %v", count)
	}
	if got := strings.Join(b.all(), ""); strings.Count(got, "GET") != 20 {
		t.Errorf("the destination got %d requests", strings.Count(got, "GET"))
	}
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
	w := newWorld(t, b, func(c *gateway.Config) { c.Times.Write = 200 * time.Millisecond })
	io.WriteString(w.dial(), "GET /acme"+heads+"\r\n")
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("a client that reads nothing is waited for")
	}
}

// Covers: case 312
func TestLimitsPerAddress(t *testing.T) {
	b := newBackend(t, ok)
	w := newWorld(t, b, func(c *gateway.Config) {
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
	for range 15 {
		io.WriteString(held[0], "GET /acme"+heads+"\r\n")
		resp, err := http.ReadResponse(br, nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatal(resp, err)
		}
		io.ReadAll(resp.Body)
	}
	if d := time.Since(start); d < 150*time.Millisecond {
		t.Errorf("15 requests at 50 a second after 5 took %v", d)
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
	w := newWorld(t, b, nil)
	idle, busy := w.dial(), w.dial()
	io.WriteString(busy, "GET /acme"+heads+"\r\n")
	eventually(t, "the request is under way", func() bool { return len(b.all()) == 1 })
	w.stop()
	if _, err := idle.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("an idle connection ends with %v", err)
	}
	if _, err := net.Dial("tcp", w.addr); err == nil {
		t.Error("new connections are taken")
	}
	if w.gw.Healthy() == nil {
		t.Error("it says it is ready")
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
	w := newWorld(t, b, func(c *gateway.Config) { c.Times.Drain = 50 * time.Millisecond })
	c := w.dial()
	io.WriteString(c, "GET /acme"+heads+"\r\n")
	eventually(t, "the request is under way", func() bool { return len(b.all()) == 1 })
	w.stop()
	if err := <-w.ended; err == nil {
		t.Error("Serve does not say that it cut")
	}
}
