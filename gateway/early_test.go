package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"fhirdest.example/gateway"
)

// An early final answer that is longer than one read arrives whole, though the body
// that was announced never passes.
//
// Covers: case 315
func TestEarlyFinalAnswerIsWhole(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	b := newBackend(t, func(c net.Conn) {
		http.ReadRequest(bufio.NewReader(c))
		fmt.Fprintf(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: %d\r\n\r\n", len(long))
		for i := 0; i < len(long); i += 64 << 10 {
			io.WriteString(c, long[i:i+64<<10])
			time.Sleep(time.Millisecond)
		}
		io.Copy(io.Discard, c)
	})
	inbound, _ := twoHops(t, b, nil)
	c := inbound.dial()
	io.WriteString(c, "POST /acme"+heads+"Expect: 100-continue\r\nContent-Length: 300\r\n\r\n")

	got, err := io.ReadAll(c)
	if err != nil || status(string(got)) != "413" || !strings.HasSuffix(string(got), "\r\n\r\n"+long) {
		t.Errorf("%d bytes, %v: %.100q", len(got), err, got)
	}
}

// 103 is not 100: a final answer after it alone still leaves open whether the body
// comes, so that what the client sends next must not pass.
//
// Covers: case 315
func TestEarlyHintsAreNoContinue(t *testing.T) {
	b := newBackend(t, func(c net.Conn) {
		http.ReadRequest(bufio.NewReader(c))
		io.WriteString(c,
			"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
		io.Copy(io.Discard, c)
	})
	w := newEnv(t, b, nil)
	c := w.dial()

	head := "POST /acme" + heads + "Expect: 100-continue\r\nContent-Length: 300\r\n\r\n"
	io.WriteString(c, head)
	br := bufio.NewReader(c)

	for range 2 {
		if _, err := http.ReadResponse(br, nil); err != nil {
			t.Fatal(err)
		}
	}

	io.WriteString(c, "GET /acme/smuggled"+heads+"\r\n")
	io.ReadAll(br)
	eventually(t, "the upstream ends", func() bool { return b.conns[0].ended() })
	if got := b.all(); len(got) != 1 || got[0] != head {
		t.Errorf("the destination got %q", got)
	}
}

// A client that goes on sending after the last exchange of a connection still gets
// the whole answer: closing on its unread bytes would reset the connection.
func TestLastAnswerIsNotReset(t *testing.T) {
	body := strings.Repeat("y", 256<<10)
	b := newBackend(t, func(c net.Conn) {
		http.ReadRequest(bufio.NewReader(c))
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	})
	w := newEnv(t, b, nil)
	const lingers = time.Second // so long the gateway reads on
	for quick := 0; quick < 20; {
		c, begun := w.dial(), time.Now()
		go func() {
			for range 200 {
				if _, err := io.WriteString(c, get+"\r\n"+strings.Repeat("z", 1000)); err != nil {
					return
				}
				time.Sleep(100 * time.Microsecond)
			}
		}()

		time.Sleep(20 * time.Millisecond) // the answer waits in buffers while more is sent
		got, err := io.ReadAll(c)
		if time.Since(begun) > lingers {
			continue // this machine was too busy for what is to be shown
		}

		quick++
		if err != nil || !strings.HasSuffix(string(got), body) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
}

// A request that waits for its turn is not under the time limit of its head.
//
// Covers: case 312
func TestWaitingForATokenIsNotSlow(t *testing.T) {
	b := newBackend(t, ok)
	atSomePace(t, 200*time.Millisecond, func(pace time.Duration) error {
		w := newEnv(t, b, func(c *gateway.Config) {
			c.Limits = gateway.Limits{RequestsPerSecond: 1 / (2.5 * pace.Seconds()), Burst: 1}
			c.Times.Head, c.Times.Body = pace, pace
		})
		c := w.dial()

		for _, piece := range []string{
			get,
			"POST /acme" + heads + "Content-Length: 6\r\n\r\nabc",
			"def" + "GET /acme" + heads + "Connection: close\r\n\r\n",
		} {
			io.WriteString(c, piece)
		}

		if got, _ := io.ReadAll(c); strings.Count(string(got), "200 OK") != 3 {
			return fmt.Errorf("limits of %v: answered %q", pace, got)
		}
		return nil
	})
}

// A client cannot escape its rate by a new connection for each request.
//
// Covers: case 312
func TestRateOutlivesConnections(t *testing.T) {
	b := newBackend(t, ok)
	w := newEnv(t, b, func(c *gateway.Config) { c.Limits = gateway.Limits{RequestsPerSecond: 10, Burst: 1} })
	start := time.Now()

	for range 6 {
		if got := w.ask(get); status(got) != "200" {
			t.Fatalf("answered %q", got)
		}
		w.idle()
	}

	// The first is free, and the gateway's clock may have been behind by the second.
	if took := time.Since(start); took < 390*time.Millisecond {
		t.Errorf("6 requests at 10 per second took %v", took)
	}
}
