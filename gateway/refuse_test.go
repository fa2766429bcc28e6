package gateway_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"fhirdest.example/gateway"
)

// delegateNext makes the route lead to another gateway.
func delegateNext(c *gateway.Config) { c.Routes[0].Next = "https://delegate.localhost" }

const post = "POST /acme" + heads

// refusals are requests that must not reach the destination, each with its answer.
var refusals = map[string]struct {
	in     string
	status string
}{
	"289 TE.CL": {
		post + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n5c\r\nGPOST / HTTP/1.1\r\n\r\n0\r\n\r\n",
		"400",
	},
	"290 xchunked":     {post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "400"},
	"290 twice":        {post + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", "400"},
	"290 identity":     {post + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", "400"},
	"290 two":          {post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n", "400"},
	"290 gzip":         {post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "400"},
	"290 TAB":          {post + "Content-Length: 5\r\nTransfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n", "400"},
	"290 vertical tab": {post + "Transfer-Encoding:\vchunked\r\n\r\n0\r\n\r\n", "400"},
	"290 comma":        {post + "Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n", "400"},
	"290 space":        {post + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", "400"},
	"290 fold":         {post + "Content-Length: 5\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", "400"},
	"290 upper case":   {post + "Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n", "400"},
	"290 underscore":   {post + "Transfer_Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
	"291 1.0 with TE": {
		"POST /acme HTTP/1.0\r\nHost: fhir.example\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
		"400",
	},
	"307 1.0":               {"GET /acme HTTP/1.0\r\nHost: fhir.example\r\n\r\n", "505"},
	"292 plus":              {post + "Content-Length: +3\r\n\r\nabc", "400"},
	"292 minus":             {post + "Content-Length: -1\r\n\r\nabc", "400"},
	"292 hex":               {post + "Content-Length: 0x3\r\n\r\nabc", "400"},
	"292 list":              {post + "Content-Length: 3, 3\r\n\r\nabc", "400"},
	"292 empty":             {post + "Content-Length: \r\n\r\nabc", "400"},
	"292 2^64+3":            {post + "Content-Length: 18446744073709551619\r\n\r\nabc", "400"},
	"292 equal":             {post + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "400"},
	"292 different":         {post + "Content-Length: 3\r\nContent-Length: 30\r\n\r\nabc", "400"},
	"296 other prefix":      {"GET /acmex" + heads + "\r\n", "404"},
	"296 case":              {"GET /ACME" + heads + "\r\n", "404"},
	"296 encoded":           {"GET /%61cme" + heads + "\r\n", "404"},
	"296 //evil":            {"GET //evil/x" + heads + "\r\n", "404"},
	"296 absolute, other":   {"GET https://evil.example/acme" + heads + "\r\n", "421"},
	"296 absolute, user":    {"GET https://u@fhir.example/acme" + heads + "\r\n", "421"},
	"296 absolute, http":    {"GET http://fhir.example/acme" + heads + "\r\n", "421"},
	"296 file":              {"GET file:///etc/passwd" + heads + "\r\n", "421"},
	"296 @evil":             {"GET @evil/acme" + heads + "\r\n", "400"},
	"296 foo":               {"GET foo" + heads + "\r\n", "400"},
	"296 star":              {"GET *" + heads + "\r\n", "400"},
	"296 ?x":                {"GET ?x" + heads + "\r\n", "400"},
	"296 #frag":             {"GET #frag" + heads + "\r\n", "400"},
	"296 backslash":         {"GET \\acme" + heads + "\r\n", "400"},
	"296 http:x":            {"GET http:x" + heads + "\r\n", "400"},
	"296 CONNECT":           {"CONNECT evil:443" + heads + "\r\n", "400"},
	"296 CONNECT to a path": {"CONNECT /acme" + heads + "\r\n", "400"},
	"296 PRI":               {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"},
	"296 64 KiB":            {"GET /acme/" + strings.Repeat("x", 64<<10) + heads + "\r\n", "431"},
	"297 other host":        {"GET /acme HTTP/1.1\r\nHost: other.internal\r\n\r\n", "421"},
	"297 trailing dot":      {"GET /acme HTTP/1.1\r\nHost: fhir.example.\r\n\r\n", "421"},
	"297 other port":        {"GET /acme HTTP/1.1\r\nHost: fhir.example:8080\r\n\r\n", "421"},
	"297 wildcard":          {"GET /acme HTTP/1.1\r\nHost: *.example\r\n\r\n", "421"},
	"297 empty":             {"GET /acme HTTP/1.1\r\nHost:\r\n\r\n", "421"},
	"297 two":               {"GET /acme" + heads + "Host: other\r\n\r\n", "400"},
	"297 none":              {"GET /acme HTTP/1.1\r\n\r\n", "400"},
	"308 bad chunk":         {post + "Transfer-Encoding: chunked\r\n\r\nx\r\n", "400"},
	"313 2 MiB":             {"GET /acme" + heads + "X: " + strings.Repeat("x", 100<<10), "431"},
	"313 10,000 fields":     {"GET /acme" + heads + strings.Repeat("X: yyy\r\n", 10_000) + "\r\n", "431"},
	"bare LF":               {"GET /acme HTTP/1.1\nHost: fhir.example\n\n", "400"},
}

// Covers: ER-15, FS-104, FS-105, case 289, 290, 291, 292, 296, 297, 307, 313
func TestRefusals(t *testing.T) {
	b := newBackend(t, ok)
	w := newEnv(t, b, nil)
	smuggled := "GET /acme/smuggled" + heads + "\r\n"

	for name, c := range refusals {
		t.Run(name, func(t *testing.T) {
			w.t = t
			w.evidence.clear()
			got := w.ask(c.in + smuggled)
			if status(got) != c.status || strings.Count(got, "HTTP/1.1 ") != 1 ||
				!strings.Contains(got, "Connection: close") {
				t.Errorf("answered %.200q, want one %s", got, c.status)
			}
			if !strings.Contains(got, `{"resourceType":"OperationOutcome","issue":[{"severity":"error"`) {
				t.Errorf("no OperationOutcome in %q", got)
			}

			for _, field := range []string{
				"\r\nStrict-Transport-Security: max-age=31536000\r\n",
				"\r\nX-Content-Type-Options: nosniff\r\n",
				"\r\nContent-Security-Policy: default-src 'none'; ",
			} {
				if !strings.Contains(got, field) {
					t.Errorf("no %q in %q", field, got)
				}
			}

			list := w.evidence.await(t, 2)
			if len(list) != 2 || list[0].In.Bytes != 0 || list[0].Out.Bytes != int64(len(got)) ||
				list[1].Out.Bytes != 0 || list[1].In.Bytes == 0 {
				t.Errorf("evidence %+v", list)
			}
		})
	}

	if got := b.all(); len(got) > 0 {
		t.Errorf("the destination got %q", got)
	}
}

func (s *sink) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines, s.owes = nil, 0
}

// Names that are the configured one.
//
// Covers: case 297
func TestHostsThatAreOurs(t *testing.T) {
	b := newBackend(t, ok)
	w := newEnv(t, b, func(c *gateway.Config) {
		c.Routes[0].Hosts = append(c.Routes[0].Hosts, "*.Wild.example:8443", "a.example:443")
	})

	for _, h := range []string{
		"FHIR.example", "fhir.example:443", "x.wild.example:8443", "a.example", "A.EXAMPLE:443",
	} {
		if got := w.ask("GET /acme HTTP/1.1\r\nHost: " + h + "\r\n\r\n"); status(got) != "200" {
			t.Errorf("%s: %q", h, got)
		}
	}

	for _, h := range []string{"x.y.wild.example:8443", "wild.example:8443", "x.wild.example", ".wild.example:8443x"} {
		if got := w.ask("GET /acme HTTP/1.1\r\nHost: " + h + "\r\n\r\n"); status(got) != "421" {
			t.Errorf("%s: %q", h, got)
		}
	}
}

// What the destination must not answer, and what a client then gets.
//
// Covers: ER-15, case 300, 307, 308
func TestAnswersThatCannotBeFramed(t *testing.T) {
	good := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	for name, c := range map[string]struct {
		answer string
		status string // "" where the answer had begun: the client sees it cut
	}{
		"two answers":       {good + good, "502"},
		"both":              {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok", "502"},
		"doubled length":    {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", "502"},
		"bare CR":           {"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 2\r\n\r\nok", "502"},
		"bare LF":           {"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", "502"},
		"101":               {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", "502"},
		"interim flood":     {strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 500), "103"},
		"204 with a body":   {"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", "502"},
		"204 and more":      {"HTTP/1.1 204 No Content\r\n\r\nok", "502"},
		"304 and more":      {"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\nok", "502"},
		"no HTTP":           {"220 mail.example ESMTP\r\n\r\n", "502"},
		"nothing":           {"", "502"},
		"half a head":       {"HTTP/1.1 200 OK\r\nContent-", "502"},
		"bad chunk at once": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "502"},
		"half a body":       {"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\nhalf", ""},
		"no last chunk":     {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", ""},
		"no close_notify":   {"HTTP/1.1 200 OK\r\n\r\nhalf", ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t, func(conn net.Conn) {
				http.ReadRequest(bufio.NewReader(conn))
				io.WriteString(conn, c.answer)
				if name == "no close_notify" { // the stream ends between two records, as an attacker would end it
					conn.(tapped).NetConn().Close()
				}
			})
			w := newEnv(t, b, nil)
			conn := w.dial()
			io.WriteString(conn, "GET /acme"+heads+"\r\n")

			got, err := io.ReadAll(conn)
			if c.status == "" {
				if err == nil || string(got) != c.answer {
					t.Errorf("ends with %v after %q, as if whole", err, got)
				}
				return
			}

			if status(string(got)) != c.status || c.status == "502" && strings.Contains(string(got), "ok\"") {
				t.Errorf("answered %q", got)
			}
			if name == "interim flood" && !strings.Contains(string(got), "HTTP/1.1 502") {
				t.Errorf("no end: %.100q", got)
			}
		})
	}
}

// Bytes that come unasked after an answer never become the answer to the next
// request, and the request is not sent twice.
//
// Covers: case 308, 309
func TestUnaskedBytes(t *testing.T) {
	// They must have reached the gateway before the next request does; how long that
	// is depends on the machine.
	atSomePace(t, 20*time.Millisecond, func(pace time.Duration) error {
		answered, sent := make(chan bool), make(chan bool)
		defer close(answered)
		b := newBackend(t, func(c net.Conn) {
			br := bufio.NewReader(c)
			for {
				req, err := http.ReadRequest(br)
				if err != nil {
					return
				}

				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(req.RequestURI), req.RequestURI)
				if !<-answered {
					return
				}

				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
				sent <- true
			}
		})
		c := newEnv(t, b, nil).dial()
		br := bufio.NewReader(c)

		for i := range 5 {
			fmt.Fprintf(c, "GET /acme/%d%s\r\n", i, heads)
			resp, err := http.ReadResponse(br, nil)
			if err != nil {
				return err
			}
			if body, _ := io.ReadAll(resp.Body); string(body) != fmt.Sprintf("/acme/%d", i) {
				return fmt.Errorf("after %v request %d is answered %q", pace, i, body)
			}

			answered <- true
			<-sent
			time.Sleep(pace)
		}

		got := strings.Join(b.all(), "")
		for i := range 5 {
			if n := strings.Count(got, fmt.Sprintf("GET /acme/%d ", i)); n != 1 {
				t.Errorf("request %d arrived %d times", i, n)
			}
		}

		return nil
	})
}

// One client desynchronises its own stream in every way; others never notice, and
// each upstream carries one client's bytes only.
//
// Covers: case 309
func TestNoByteOnAnothersConnection(t *testing.T) {
	b := newBackend(t, ok)
	w := newEnv(t, b, nil)
	stop := make(chan bool)
	go func() {
		defer close(stop)
		for _, c := range refusals {
			w.ask("GET /acme/evil" + heads + "\r\n" + c.in + "GET /acme/evil" + heads + "\r\n")
		}
	}()

	c := w.dial()
	br := bufio.NewReader(c)
	for i := range 1000 {
		fmt.Fprintf(c, "GET /acme/good/%d%s\r\n", i, heads)
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(resp.Body); string(body) != fmt.Sprintf("GET /acme/good/%d", i) {
			t.Fatalf("%d: %q", i, body)
		}
	}

	<-stop
	for _, s := range b.all() {
		if strings.Contains(s, "evil") && strings.Contains(s, "good") {
			t.Error("two clients' bytes are on one connection")
		}
	}
}

// A destination that dies before its answer: 502, and the request is not sent again.
//
// Covers: case 307, 319
func TestNothingIsSentTwice(t *testing.T) {
	b := newBackend(t, func(c net.Conn) { http.ReadRequest(bufio.NewReader(c)) })
	w := newEnv(t, b, nil)
	for _, in := range []string{"GET /acme" + heads + "\r\n", post + "Content-Length: 3\r\n\r\nabc"} {
		if got := w.ask(in); status(got) != "502" {
			t.Errorf("answered %q", got)
		}
	}
	if got := b.all(); len(got) != 2 {
		t.Errorf("two requests arrived as %q", got)
	}
}

// A next hop that closes between requests: the next one goes on a new connection.
func TestNextHopClosesBetweenRequests(t *testing.T) {
	b := newBackend(t, func(c net.Conn) {
		http.ReadRequest(bufio.NewReader(c))
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	})
	w := newEnv(t, b, nil)
	// The end must have reached the gateway before the next request does.
	atSomePace(t, 20*time.Millisecond, func(pace time.Duration) error {
		c := w.dial()
		br := bufio.NewReader(c)
		for i := range 3 {
			io.WriteString(c, "GET /acme"+heads+"\r\n")
			resp, err := http.ReadResponse(br, nil)
			if err != nil || resp.StatusCode != 200 {
				return fmt.Errorf("after %v request %d: %v, %v", pace, i, resp, err)
			}
			io.ReadAll(resp.Body)
			time.Sleep(pace)
		}

		return nil
	})
}

// A client that goes away within a body: the destination does not get a whole request.
func TestClientDiesInBody(t *testing.T) {
	for name, in := range map[string]string{
		"length":    post + "Content-Length: 300\r\n\r\nabc",
		"chunked":   post + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
		"bad chunk": post + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t, func(c net.Conn) { io.Copy(io.Discard, c) })
			w := newEnv(t, b, nil)
			c := w.dial()
			io.WriteString(c, in)
			eventually(t, "the beginning arrives", func() bool { l := b.all(); return len(l) == 1 && l[0] == in })
			if name == "bad chunk" {
				io.WriteString(c, "zz\r\n")
				if got, _ := io.ReadAll(c); status(string(got)) != "400" {
					t.Errorf("answered %q", got)
				}
			}

			c.Close()
			eventually(t, name+": the upstream is cut", func() bool {
				return b.conns[0].ended() && !errors.Is(b.conns[0].err, io.EOF)
			})
			if got := b.all(); got[0] != in {
				t.Errorf("the destination got %q", got)
			}
		})
	}
}

// Covers: ER-15, case 318, 319
func TestNextHopThatCannotBeReached(t *testing.T) {
	silent, _ := net.Listen("tcp", "127.0.0.1:0")
	defer silent.Close()

	good := newBackend(t, ok)
	for name, c := range map[string]struct {
		status string
		change func(*gateway.Config)
	}{
		"refused":           {"502", func(c *gateway.Config) { c.Routes[0].Dial = []string{"127.0.0.1:1"} }},
		"other name":        {"502", func(c *gateway.Config) { c.Routes[0].Next = "https://other.localhost" }},
		"unknown authority": {"502", func(c *gateway.Config) { c.Routes[0].TLS = &tls.Config{} }},
		"silent handshake": {"504", func(c *gateway.Config) {
			c.Routes[0].Dial, c.Times.Connect = []string{silent.Addr().String()}, 50*time.Millisecond
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newEnv(t, good, c.change)
			got := w.ask("GET /acme" + heads + "\r\n")
			if status(got) != c.status || strings.Contains(got, "localhost") || strings.Contains(got, "127.0.0.1") {
				t.Errorf("%q", got)
			}
		})
	}

	if got := good.all(); len(got) > 0 {
		t.Errorf("an unverified next hop got %q", got)
	}
}

// A route that leads to the gateway itself is cut at the first turn.
//
// Covers: case 318
func TestLoop(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := newPKI(t, host)
	g, err := gateway.New(gateway.Config{
		TLS: p.server(),
		Now: time.Now,
		Routes: []gateway.Route{{Name: "x", Hosts: []string{host},
			Next: "https://" + host, Dial: []string{l.Addr().String()}, TLS: p.client("")}},
	})
	if err != nil {
		t.Fatal(err)
	}

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go g.Serve(ctx, l)
	w := &env{t: t, pki: p, addr: l.Addr().String()}
	if got := w.ask("GET /acme" + heads + "\r\n"); status(got) != "502" {
		t.Errorf("answered %q", got)
	}
}

// Without evidence nothing passes, unless configured so.
func TestEvidenceFails(t *testing.T) {
	b := newBackend(t, ok)
	for _, pass := range []bool{false, true} {
		w := newEnv(t, b, func(c *gateway.Config) { c.PassWithoutEvidence = pass })
		w.evidence.mu.Lock()
		w.evidence.err = errors.New("disk full")
		w.evidence.mu.Unlock()
		want := map[bool]string{false: "500", true: "200"}[pass]
		if got := w.ask("GET /acme" + heads + "\r\n"); status(got) != want || w.gw.Healthy() == nil {
			t.Errorf("pass %v: %q", pass, got)
		}
	}

	if got := b.all(); len(got) != 1 {
		t.Errorf("the destination got %q", got)
	}
}

// Nothing is stored: two requests are two requests.
//
// Covers: case 311
func TestNothingIsCached(t *testing.T) {
	b := newBackend(t, ok)
	w := newEnv(t, b, nil)
	for _, token := range []string{"one", "two"} {
		w.ask("GET /acme" + heads + "Authorization: Bearer " + token + "\r\n\r\n")
	}
	if got := strings.Join(b.all(), ""); !strings.Contains(got, "one") || !strings.Contains(got, "two") {
		t.Errorf("the destination got %q", got)
	}
}

func TestConfigurationIsChecked(t *testing.T) {
	_, err := gateway.New(gateway.Config{
		Routes: []gateway.Route{{Name: "x", Hosts: []string{"a/b"}, Next: "http://x"}},
	})

	for _, want := range []string{
		"no TLS configuration for clients", "no clock", "is not a name", "is not https://",
		"for the next hop",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}
