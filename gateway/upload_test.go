package gateway_test

import (
	"bufio"
	"bytes"
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

const expect = "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"

// While the client rightly waits for 100 (Continue), the limit that runs is that of the
// next hop's answer, and not that of the body.
//
// Covers: case 312, 315
func TestLimitsWhileAwaitingContinue(t *testing.T) {
	const short = 100 * time.Millisecond
	sends100 := func(c net.Conn) {
		http.ReadRequest(bufio.NewReader(c))
		io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
		io.Copy(io.Discard, c)
	}

	silent := func(c net.Conn) { io.Copy(io.Discard, c) }

	for name, c := range map[string]struct {
		backend func(net.Conn)
		times   gateway.Times
		in      string
		want    string // the last status
	}{
		"no answer":                {silent, gateway.Times{FirstByte: short, Body: time.Hour}, expect, "504"},
		"no body after 100":        {sends100, gateway.Times{FirstByte: time.Hour, Body: short}, expect, "408"},
		"half a body after 100":    {sends100, gateway.Times{FirstByte: short, Body: 3 * short}, expect + "a", "408"},
		"the body without waiting": {silent, gateway.Times{FirstByte: short, Body: time.Hour}, expect + "abc", "504"},
		"half a body without 100":  {silent, gateway.Times{FirstByte: time.Hour, Body: short}, expect + "a", "408"},
		"no answer after the body": {
			sends100,
			gateway.Times{FirstByte: short, Body: time.Hour},
			expect + "abc",
			"504",
		},
		"half a body, no Expect": {
			silent,
			gateway.Times{FirstByte: short, Body: 3 * short},
			"Content-Length: 3\r\n\r\na",
			"408",
		},
		"Expect without a body": {
			silent,
			gateway.Times{FirstByte: short, Body: time.Hour},
			"Expect: 100-continue\r\n\r\n",
			"504",
		},
		"Expect with an empty body": {
			silent,
			gateway.Times{FirstByte: short},
			"Expect: 100-continue\r\nContent-Length: 0\r\n\r\n",
			"504",
		},
		"Expect with chunks to come": {
			silent,
			gateway.Times{FirstByte: short, Body: time.Hour},
			"Expect: 100-continue\r\n" + chunked,
			"504",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newEnv(t, newBackend(t, c.backend), func(cfg *gateway.Config) { cfg.Times = otherwiseLong(c.times) })
			conn := w.dial()
			io.WriteString(conn, post+c.in)
			got, err := io.ReadAll(conn)
			last := string(got[max(0, strings.LastIndex(string(got), "HTTP/1.1 ")):])
			if status(last) != c.want || err != nil {
				t.Errorf("answered %q, %v; want %s", got, err, c.want)
			}
		})
	}
}

// A next hop that takes longer with its 100 (Continue) than a body may take gets the body.
//
// Covers: case 312, 315
func TestContinueMayBeLate(t *testing.T) {
	// The body must follow 100 (Continue) within the limit.
	atSomePace(t, 200*time.Millisecond, func(limit time.Duration) error { return lateContinue(t, limit) })
}

// lateContinue sends a body after a 100 (Continue) that comes later than a body may.
func lateContinue(t *testing.T, limit time.Duration) error {
	late := make(chan bool)
	b := newBackend(t, func(c net.Conn) {
		br := bufio.NewReader(c)
		req, err := http.ReadRequest(br)
		if err != nil || req.Header.Get("Expect") == "" {
			io.Copy(io.Discard, c)
			return
		}

		<-late
		io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
		body, _ := io.ReadAll(req.Body)
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	})
	w := newEnv(t, b, func(c *gateway.Config) { c.Times.Body = limit })
	c := w.dial()
	io.WriteString(c, post+expect)

	eventually(t, "the request arrives", func() bool { return len(b.all()) == 1 })

	// Another client's body, begun later, is too slow: the time has passed.
	slow := w.dial()
	io.WriteString(slow, post+"Content-Length: 3\r\n\r\na")
	if got, _ := io.ReadAll(slow); status(string(got)) != "408" {
		t.Fatalf("a slow body is answered %q", got)
	}

	close(late)
	br := bufio.NewReader(c)
	if resp, err := http.ReadResponse(br, nil); err != nil || resp.StatusCode != 100 {
		t.Fatal(resp, err)
	}
	io.WriteString(c, "abc")
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		return err
	}

	if body, _ := io.ReadAll(resp.Body); string(body) != "abc" {
		return fmt.Errorf("with a limit of %v the body came back as %q", limit, body)
	}
	return nil
}

// A refusal does not wait for the body, and is read by clients that first send all of a
// large one.
//
// Covers: case 315
func TestRefusalsOfUploads(t *testing.T) {
	refuses := newBackend(t, func(c net.Conn) {
		req, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}

		if req.ContentLength > 0 || len(req.TransferEncoding) > 0 {
			io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		}
		io.Copy(io.Discard, c)
	})
	w := newEnv(t, refuses, func(c *gateway.Config) {
		c.Times = long
		down := c.Routes[0]
		down.Name, down.Prefixes, down.Dial = "down", []string{"/down"}, []string{"127.0.0.1:1"}
		c.Routes = append(c.Routes, down)
	})

	const size = 24 << 20
	for name, c := range map[string]struct{ head, status string }{
		"no route":         {"POST /none" + heads, "404"},
		"another host":     {"POST /acme HTTP/1.1\r\nHost: other\r\n", "421"},
		"an upgrade":       {post + "Upgrade: x\r\n", "400"},
		"no next hop":      {"POST /down" + heads, "502"},
		"by the next hop":  {post, "413"},
		"not well framed":  {post + "Content-Length: 5\r\n", "400"},
		"an old version":   {"POST /acme HTTP/1.0\r\n", "505"},
		"a head too large": {post + "X: " + strings.Repeat("x", 64<<10) + "\r\n", "431"},
	} {
		length := fmt.Sprintf("Content-Length: %d\r\n", size)
		t.Run(name+"/awaited", func(t *testing.T) {
			conn := w.dial()
			io.WriteString(conn, c.head+length+"Expect: 100-continue\r\n\r\n")
			if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil ||
				itoa(resp.StatusCode) != c.status {
				t.Errorf("answered %v, %v; want %s", resp, err, c.status)
			}
		})

		t.Run(name+"/sent", func(t *testing.T) {
			conn := w.dial()
			io.WriteString(conn, c.head+length+"\r\n")
			piece := make([]byte, 1<<20)
			for range size / len(piece) {
				if _, err := conn.Write(piece); err != nil {
					t.Fatalf("the upload ends with %v", err)
				}
			}

			got, err := io.ReadAll(conn)
			if status(string(got)) != c.status || err != nil {
				t.Errorf("answered %.200q, %v; want %s", got, err, c.status)
			}
		})
	}
}

// A body in records of a byte each passes in far fewer writes than it has bytes.
func TestSmallRecordsPassTogether(t *testing.T) {
	const size = 20_000
	reads := make(chan int, 1)
	b := newBackend(t, func(c net.Conn) {
		buf := make([]byte, 64<<10)
		for n, all := 0, 0; ; n++ {
			k, err := c.Read(buf)
			if all += k; strings.HasSuffix(string(buf[:k]), "z") {
				reads <- n
				io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
			}
			if err != nil {
				return
			}
		}
	})
	w := newEnv(t, b, nil)
	tcp, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}

	raw := &batch{Conn: tcp}
	c := tls.Client(raw, &tls.Config{RootCAs: w.pki.pool, ServerName: host})
	defer c.Close()

	c.SetDeadline(time.Now().Add(patience))
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}

	body := strings.Repeat("y", size-1) + "z"
	fmt.Fprintf(c, "%sContent-Length: %d\r\n\r\n", post, size)
	raw.held = new(bytes.Buffer)
	for i := range body {
		io.WriteString(c, body[i:i+1])
	}
	held := raw.held
	raw.held = nil // what the end of the connection writes goes out by itself

	go io.Copy(tcp, held)

	if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != 204 {
		t.Fatal(resp, err)
	}
	if got := b.all()[0]; !strings.HasSuffix(got, body) {
		t.Error("the body was changed")
	}
	if n := <-reads; n > size/10 {
		t.Errorf("%d bytes came in %d records", size, n)
	}
}

// batch keeps what is written, while held is there.
type batch struct {
	net.Conn
	held *bytes.Buffer
}

func (b *batch) Write(p []byte) (int, error) {
	if b.held != nil {
		return b.held.Write(p)
	}
	return b.Conn.Write(p)
}
