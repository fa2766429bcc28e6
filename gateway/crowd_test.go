package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	"fhirdest.example/gateway"
)

// echo answers each request with its target and body, in chunks or with a length, and
// now and then before the body has come.
func echo(c net.Conn) {
	br := bufio.NewReader(c)
	for n := 0; ; n++ {
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if n%3 == 0 {
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(req.RequestURI),
				req.RequestURI)
			body, err := io.ReadAll(req.Body)
			if err != nil {
				return
			}

			if len(body) > 0 {
				fmt.Fprintf(c, "%x\r\n%s\r\n", len(body), body)
			}
			io.WriteString(c, "0\r\n\r\n")
			continue
		}

		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s%s", len(req.RequestURI)+len(body),
			req.RequestURI, body)
	}
}

// Many clients at once through two gateways, which go away at any moment: each gets
// its own bytes only, each upstream carries one client's only, and nothing arrives
// twice.
//
// Covers: case 309, 311
func TestCrowd(t *testing.T) {
	b := newBackend(t, echo)
	inbound, delegate := twoHops(t, b, nil)
	var wg sync.WaitGroup

	for id := range 20 {
		wg.Go(func() {
			for round := range 3 {
				oneOfMany(t, inbound, fmt.Sprintf("<%d.%d>", id, round))
			}
		})
	}

	wg.Wait()
	inbound.idle()
	delegate.idle()
	tag, arrived := regexp.MustCompile(`<\d+\.\d+>`), map[string]int{}
	target := regexp.MustCompile(`/acme/<\d+\.\d+>/\d+`)

	for _, s := range b.all() {
		ids := map[string]bool{}
		for _, id := range tag.FindAllString(s, -1) {
			ids[id] = true
		}
		if len(ids) > 1 {
			t.Errorf("one upstream carries %v", ids)
		}
		for _, u := range target.FindAllString(s, -1) {
			arrived[u]++
		}
	}

	for u, n := range arrived {
		if n > 1 {
			t.Errorf("%s arrived %d times", u, n)
		}
	}

	if len(arrived) < 300 {
		t.Errorf("only %d requests arrived", len(arrived))
	}
}

// oneOfMany sends requests with id in all their bytes until chance ends it.
func oneOfMany(t *testing.T, w *env, id string) {
	c := w.dial()
	defer c.Close()
	if rand.IntN(2) == 0 {
		defer func() { c.NetConn().(*net.TCPConn).SetLinger(0); c.NetConn().Close() }()
	}
	br := bufio.NewReader(c)

	for n := range 60 {
		uri := fmt.Sprintf("/acme/%s/%d", id, n)
		body := strings.Repeat(id, rand.IntN(4)*rand.IntN(2000))
		in := fmt.Sprintf("POST %s%sContent-Length: %d\r\n\r\n%s", uri, heads, len(body), body)
		if rand.IntN(150) == 0 {
			io.WriteString(c, in[:rand.IntN(len(in))])
			return
		}

		go io.WriteString(c, in)
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Errorf("%s %d: %v", id, n, err)
			return
		}
		if rand.IntN(150) == 0 {
			return
		}

		got, err := io.ReadAll(resp.Body)
		if err != nil || string(got) != uri+body {
			t.Errorf("%s %d: %v, %d bytes, other than its own", id, n, err, len(got))
			return
		}
	}
}

// One client connection with several routes, thousands of requests: in order, each
// destination on one connection.
//
// Covers: case 320
func TestTwoRoutesOnOneConnection(t *testing.T) {
	a, b := newBackend(t, ok), newBackend(t, ok)
	w := newEnv(t, a, func(c *gateway.Config) {
		second := c.Routes[0]
		second.Name, second.Prefixes, second.Dial, second.TLS = "beta", []string{"/beta"}, []string{b.addr}, b.pki.client("")
		c.Routes = append(c.Routes, second)
	})
	c := w.dial()
	go func() {
		for i := range 3000 {
			fmt.Fprintf(c, "GET /%s/%d%s\r\n", []string{"acme", "beta"}[i%2], i, heads)
		}
	}()

	br := bufio.NewReader(c)
	for i := range 3000 {
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("GET /%s/%d", []string{"acme", "beta"}[i%2], i)
		if got, _ := io.ReadAll(resp.Body); string(got) != want {
			t.Fatalf("%d is answered %q", i, got)
		}
	}

	if len(a.all()) != 1 || len(b.all()) != 1 || strings.Contains(a.all()[0], "beta") ||
		strings.Contains(b.all()[0], "acme") {
		t.Errorf("over %d and %d connections, or mixed", len(a.all()), len(b.all()))
	}
}
