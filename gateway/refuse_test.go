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
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"fhirdest.example/gateway"
	"fhirdest.example/gateway/wire"
)

// delegateNext makes the route lead to another gateway.
func delegateNext(c *gateway.Config) { c.Routes[0].Next = "https://delegate.localhost" }

const post = "POST /acme" + heads

// refusals are requests that must not reach the destination, each with its answer.
var refusals = map[string]struct {
	in     string
	status string
}{
	"289 TE.CL":             {post + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n5c\r\nGPOST / HTTP/1.1\r\n\r\n0\r\n\r\n", "400"},
	"290 xchunked":          {post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "400"},
	"290 twice":             {post + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", "400"},
	"290 identity":          {post + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", "400"},
	"290 two":               {post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n", "400"},
	"290 gzip":              {post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "400"},
	"290 TAB":               {post + "Content-Length: 5\r\nTransfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n", "400"},
	"290 vertical tab":      {post + "Transfer-Encoding:\vchunked\r\n\r\n0\r\n\r\n", "400"},
	"290 comma":             {post + "Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n", "400"},
	"290 space":             {post + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", "400"},
	"290 fold":              {post + "Content-Length: 5\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", "400"},
	"290 upper case":        {post + "Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n", "400"},
	"290 underscore":        {post + "Transfer_Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
	"291 1.0 with TE":       {"POST /acme HTTP/1.0\r\nHost: fhir.example\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc", "400"},
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

// Covers: ER-15, case 289, 290, 291, 292, 296, 297, 307, 313
func TestRefusals(t *testing.T) {
	b := newBackend(t, ok)
	w := newWorld(t, b, nil)
	smuggled := "GET /acme/smuggled" + heads + "\r\n"
	for name, c := range refusals {
		w.evidence.clear()
		got := w.ask(c.in + smuggled)
		if status(got) != c.status || strings.Count(got, "HTTP/1.1 ") != 1 || !strings.Contains(got, "Connection: close") {
			t.Errorf("%s: answered %.200q, want one %s", name, got, c.status)
		}
		if !strings.Contains(got, `{"resourceType":"OperationOutcome","issue":[{"severity":"error"`) {
			t.Errorf("%s: no OperationOutcome in %q", name, got)
		}
		list := w.evidence.await(t, 2)
		if len(list) != 2 || list[0].In.Bytes != 0 || list[0].Out.Bytes != int64(len(got)) || list[1].Out.Bytes != 0 || list[1].In.Bytes == 0 {
			t.Errorf("%s: evidence %+v", name, list)
		}
	}
	if got := b.all(); len(got) > 0 {
		t.Errorf("the destination got %q", got)
	}
}

func (s *sink) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = nil
}

// Names that are the configured one.
//
// Covers: case 297
func TestHostsThatAreOurs(t *testing.T) {
	b := newBackend(t, ok)
	w := newWorld(t, b, func(c *gateway.Config) {
		c.Routes[0].Hosts = append(c.Routes[0].Hosts, "*.Wild.example:8443", "a.example:443")
	})
	for _, h := range []string{"FHIR.example", "fhir.example:443", "x.wild.example:8443", "a.example", "A.EXAMPLE:443"} {
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

// What the destination must not say, and what a client then gets.
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
	} {
		b := newBackend(t, func(conn net.Conn) {
			http.ReadRequest(bufio.NewReader(conn))
			io.WriteString(conn, c.answer)
		})
		w := newWorld(t, b, nil)
		conn := w.dial()
		io.WriteString(conn, "GET /acme"+heads+"\r\n")
		got, err := io.ReadAll(conn)
		if c.status == "" {
			if err == nil || string(got) != c.answer {
				t.Errorf("%s: ends with %v after %q, as if whole", name, err, got)
			}
			continue
		}
		if status(string(got)) != c.status || c.status == "502" && strings.Contains(string(got), "ok\"") {
			t.Errorf("%s: answered %q", name, got)
		}
		if name == "interim flood" && !strings.Contains(string(got), "HTTP/1.1 502") {
			t.Errorf("%s: no end: %.100q", name, got)
		}
	}
}

// Bytes that come unasked after an answer never become the answer to the next
// request, and the request is not sent twice.
//
// Covers: case 308, 309
func TestUnaskedBytes(t *testing.T) {
	b := newBackend(t, func(c net.Conn) {
		br := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(req.RequestURI), req.RequestURI)
			time.Sleep(5 * time.Millisecond) // a record and a packet of its own
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
		}
	})
	w := newWorld(t, b, nil)
	c := w.dial()
	br := bufio.NewReader(c)
	for i := range 5 {
		fmt.Fprintf(c, "GET /acme/%d%s\r\n", i, heads)
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(resp.Body); string(body) != fmt.Sprintf("/acme/%d", i) {
			t.Fatalf("request %d is answered %q", i, body)
		}
		time.Sleep(30 * time.Millisecond)
	}
	got := b.all()
	for i := range 5 {
		if n := strings.Count(strings.Join(got, ""), fmt.Sprintf("GET /acme/%d ", i)); n != 1 {
			t.Errorf("request %d arrived %d times", i, n)
		}
	}
}

// One client desynchronises its own stream in every way; others never notice, and
// each upstream carries one client's bytes only.
//
// Covers: case 309
func TestNoByteOnAnothersConnection(t *testing.T) {
	b := newBackend(t, ok)
	w := newWorld(t, b, nil)
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
			t.Error("two clients' bytes stand on one connection")
		}
	}
}

// A destination that dies before its answer: 502, and the request is not sent again.
//
// Covers: case 307, 319
func TestNothingIsSentTwice(t *testing.T) {
	b := newBackend(t, func(c net.Conn) { http.ReadRequest(bufio.NewReader(c)) })
	w := newWorld(t, b, nil)
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
	w := newWorld(t, b, nil)
	c := w.dial()
	br := bufio.NewReader(c)
	for range 3 {
		io.WriteString(c, "GET /acme"+heads+"\r\n")
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		io.ReadAll(resp.Body)
		time.Sleep(20 * time.Millisecond)
	}
}

// A client that goes away within a body: the destination does not get a whole request.
func TestClientDiesInBody(t *testing.T) {
	for name, in := range map[string]string{
		"length":    post + "Content-Length: 300\r\n\r\nabc",
		"chunked":   post + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
		"bad chunk": post + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
	} {
		b := newBackend(t, func(c net.Conn) { io.Copy(io.Discard, c) })
		w := newWorld(t, b, nil)
		c := w.dial()
		io.WriteString(c, in)
		eventually(t, "the beginning arrives", func() bool { l := b.all(); return len(l) == 1 && l[0] == in })
		if name == "bad chunk" {
			io.WriteString(c, "zz\r\n")
			if got, _ := io.ReadAll(c); status(string(got)) != "400" {
				t.Errorf("%s: answered %q", name, got)
			}
		}
		c.Close()
		eventually(t, name+": the upstream is cut", func() bool {
			return b.conns[0].ended() && !errors.Is(b.conns[0].err, io.EOF)
		})
		if got := b.all(); got[0] != in {
			t.Errorf("%s: the destination got %q", name, got)
		}
	}
}

// Covers: ER-15, case 318, 319
func TestNextHopThatCannotBeReached(t *testing.T) {
	closed, _ := net.Listen("tcp", "127.0.0.1:0")
	closed.Close()
	silent, _ := net.Listen("tcp", "127.0.0.1:0")
	defer silent.Close()
	good := newBackend(t, ok)
	for name, c := range map[string]struct {
		status string
		change func(*gateway.Config)
	}{
		"refused":           {"502", func(c *gateway.Config) { c.Routes[0].Dial = closed.Addr().String() }},
		"other name":        {"502", func(c *gateway.Config) { c.Routes[0].Next = "https://other.localhost" }},
		"unknown authority": {"502", func(c *gateway.Config) { c.Routes[0].TLS = &tls.Config{} }},
		"silent handshake": {"504", func(c *gateway.Config) {
			c.Routes[0].Dial, c.Times.Connect, c.Times.Head = silent.Addr().String(), 50*time.Millisecond, time.Second
		}},
	} {
		w := newWorld(t, good, c.change)
		got := w.ask("GET /acme" + heads + "\r\n")
		if status(got) != c.status || strings.Contains(got, "localhost") || strings.Contains(got, "127.0.0.1") {
			t.Errorf("%s: %q", name, got)
		}
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
	g, err := gateway.New(gateway.Config{TLS: p.server(), Now: time.Now, Routes: []gateway.Route{{Name: "x", Hosts: []string{host},
		Next: "https://" + host, Dial: l.Addr().String(), TLS: p.client("")}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go g.Serve(ctx, l)
	w := &world{t: t, pki: p, addr: l.Addr().String()}
	if got := w.ask("GET /acme" + heads + "\r\n"); status(got) != "502" {
		t.Errorf("answered %q", got)
	}
}

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

// A new configuration takes effect on connections that are open, for their next
// request, and closes the upstreams of the old one.
func TestReload(t *testing.T) {
	a, b := newBackend(t, ok), newBackend(t, ok)
	w := newWorld(t, a, nil)
	c := w.dial()
	br := bufio.NewReader(c)
	get := func() {
		t.Helper()
		io.WriteString(c, "GET /acme"+heads+"\r\n")
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		io.ReadAll(resp.Body)
	}
	get()
	cfg := gateway.Config{TLS: w.pki.server(), Routes: []gateway.Route{{Name: "b", Hosts: []string{host}, Next: "https://destination.localhost", Dial: b.addr, TLS: b.pki.client("")}}}
	if err := w.gw.Reload(gateway.Config{}); err == nil {
		t.Error("an empty configuration is taken")
	}
	get()
	if err := w.gw.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	get()
	if len(a.all()) != 1 || len(b.all()) != 1 {
		t.Errorf("arrived: %q and %q", a.all(), b.all())
	}
	eventually(t, "the old upstream ends", func() bool { return a.conns[0].ended() })
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

// A mapped next hop: prefix and Host are replaced and nothing else, and the evidence
// says so.
func TestMappedNext(t *testing.T) {
	b := newBackend(t, ok)
	w := newWorld(t, b, func(c *gateway.Config) { c.Routes[0].Next = "https://destination.localhost:9443/inner/base" })
	for in, want := range map[string]string{
		"PUT /acme/a%2Fb?x=/acme HTTP/1.1\r\nX-a: /acme\r\nhost:  FHIR.example \r\nContent-Length: 5\r\n\r\n/acme": "PUT /inner/base/a%2Fb?x=/acme HTTP/1.1\r\nX-a: /acme\r\nhost:  destination.localhost:9443 \r\nContent-Length: 5\r\n\r\n/acme",
		"GET https://fhir.example/acme" + heads + "\r\n":                                                           "GET https://destination.localhost:9443/inner/base HTTP/1.1\r\nHost: destination.localhost:9443\r\n\r\n",
		"OPTIONS *" + heads + "\r\n": "OPTIONS * HTTP/1.1\r\nHost: destination.localhost:9443\r\n\r\n",
	} {
		b.mu.Lock()
		b.conns = nil
		b.mu.Unlock()
		w.evidence.clear()
		w.ask(in)
		if got := b.all(); len(got) != 1 || got[0] != want {
			t.Errorf("%q arrives as %q", in, got)
		}
		m := w.evidence.await(t, 2)[0]
		if m.Response || !m.Mapped || m.In == m.Out || m.In.Bytes != int64(len(in)) || m.Out.Bytes != int64(len(want)) {
			t.Errorf("evidence %+v", m)
		}
	}
}

// Two routes on one connection: each has an upstream of its own, kept for later.
func TestSeveralDestinations(t *testing.T) {
	a, b := newBackend(t, ok), newBackend(t, ok)
	w := newWorld(t, a, func(c *gateway.Config) {
		r := c.Routes[0]
		r.Name, r.Prefixes, r.Dial, r.TLS = "beta", []string{"/acme/beta", "/beta/"}, b.addr, b.pki.client("")
		c.Routes = append(c.Routes, r)
	})
	one, two := "GET /acme/x"+heads+"\r\n", "GET /acme/beta/x"+heads+"\r\n"
	three := "GET /beta" + heads + "\r\n"
	if got := w.ask(one + two + one + three); strings.Count(got, "200 OK") != 4 {
		t.Errorf("answered %q", got)
	}
	if x, y := a.all(), b.all(); len(x) != 1 || len(y) != 1 || x[0] != one+one || y[0] != two+three {
		t.Errorf("arrived %q and %q", x, y)
	}
}

// PROXY protocol: the address travels before TLS and changes no byte within.
//
// Covers: ER-20
func TestProxyProtocol(t *testing.T) {
	p := newPKI(t, "destination.localhost")
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{ConnContext: wire.ConnContext, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { io.WriteString(rw, r.RemoteAddr) })}
	go s.Serve(wire.NewListener(tcp, wire.ListenerConfig{TLS: p.server(), Proxy: func(net.Addr) bool { return true }}))
	defer s.Close()
	w := newWorld(t, &backend{addr: tcp.Addr().String(), pki: p}, func(c *gateway.Config) { c.Routes[0].Proxy = true })
	c := w.dial()
	io.WriteString(c, "GET /acme"+heads+"\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(resp.Body); string(body) != c.LocalAddr().String() {
		t.Errorf("the destination sees %s, the client is %s", body, c.LocalAddr())
	}
}

// Over two gateways the client's address reaches the destination; the second takes the
// header from the first alone, and must have it.
//
// Covers: ER-20, case 302
func TestProxyProtocolOverTwoGateways(t *testing.T) {
	p := newPKI(t, "destination.localhost")
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{ConnContext: wire.ConnContext, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { io.WriteString(rw, r.RemoteAddr) })}
	go s.Serve(wire.NewListener(tcp, wire.ListenerConfig{TLS: p.server(), Proxy: func(net.Addr) bool { return true }}))
	defer s.Close()
	second := newWorld(t, &backend{addr: tcp.Addr().String(), pki: p}, func(c *gateway.Config) {
		c.Routes[0].Proxy, c.Proxies = true, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		c.Limits.ConnectionsPerAddress = 2
	})
	first := newWorld(t, &backend{addr: second.addr, pki: second.pki}, func(c *gateway.Config) {
		c.Routes[0].Proxy, c.Routes[0].Next = true, "https://delegate.localhost"
	})
	c := first.dial()
	io.WriteString(c, "GET /acme"+heads+"\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(resp.Body); string(body) != c.LocalAddr().String() {
		t.Errorf("the destination sees %s, the client is %s", body, c.LocalAddr())
	}
	shake := func(w *world, before []byte) error {
		raw, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { raw.Close() })
		raw.SetDeadline(time.Now().Add(5 * time.Second))
		raw.Write(before)
		return tls.Client(raw, &tls.Config{RootCAs: w.pki.pool, ServerName: host}).Handshake()
	}
	from := func(a string) []byte {
		return wire.AppendProxy(nil, netip.MustParseAddrPort(a), netip.MustParseAddrPort("127.0.0.1:443"))
	}
	if shake(second, nil) == nil {
		t.Error("a connection of the named gateway is taken without the header")
	}
	if shake(first, from("192.0.2.7:1")) == nil {
		t.Error("the header is taken from whom nobody named")
	}
	// Connections are counted to the address in the header, not to the gateway's.
	for i, want := range []bool{true, true, false} {
		if err := shake(second, from(fmt.Sprint("192.0.2.7:", i+1))); (err == nil) != want {
			t.Errorf("connection %d of one client: %v", i+1, err)
		}
	}
	if err := shake(second, from("192.0.2.8:1")); err != nil {
		t.Errorf("another client of the same gateway: %v", err)
	}
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

// Without evidence nothing passes, unless configured so.
func TestEvidenceFails(t *testing.T) {
	b := newBackend(t, ok)
	for _, pass := range []bool{false, true} {
		w := newWorld(t, b, func(c *gateway.Config) { c.PassWithoutEvidence = pass })
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

// Covers: case 298, 299, 316, 317
func TestTLSSide(t *testing.T) {
	b := newBackend(t, ok)
	w := newWorld(t, b, nil)
	for name, cfg := range map[string]*tls.Config{
		"HTTP/2 only": {NextProtos: []string{"h2"}},
		"TLS 1.1":     {MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10},
	} {
		cfg.RootCAs, cfg.ServerName = w.pki.pool, host
		if c, err := tls.Dial("tcp", w.addr, cfg); err == nil {
			c.Close()
			t.Errorf("%s: served", name)
		}
	}
	c, err := tls.Dial("tcp", w.addr, &tls.Config{RootCAs: w.pki.pool, ServerName: host, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil || c.ConnectionState().NegotiatedProtocol != "http/1.1" {
		t.Errorf("ALPN: %v", err)
	}
	raw, _ := net.Dial("tcp", w.addr)
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(5 * time.Second))
	io.WriteString(raw, "GET /acme"+heads+"\r\n")
	if got, _ := io.ReadAll(raw); strings.Contains(string(got), "200") {
		t.Errorf("plain HTTP is answered %q", got)
	}
}

// A TLS session is resumed on both sides.
func TestResumption(t *testing.T) {
	b := newBackend(t, ok)
	w := newWorld(t, b, nil)
	cfg := w.pki.client(host)
	for i := range 2 {
		c, err := tls.Dial("tcp", w.addr, cfg)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, "GET /acme"+heads+"\r\n")
		http.ReadResponse(bufio.NewReader(c), nil)
		if c.ConnectionState().DidResume != (i == 1) {
			t.Errorf("connection %d: resumed %v", i, c.ConnectionState().DidResume)
		}
		c.Close()
	}
}

// Spares: made while clients come, used, and let go.
func TestSpares(t *testing.T) {
	b := newBackend(t, ok)
	w := newWorld(t, b, func(c *gateway.Config) { c.Routes[0].Spares = 3 })
	metric := func() string {
		var s strings.Builder
		w.gw.WriteMetrics(&s)
		return s.String()
	}
	for range 10 {
		if got := w.ask("GET /acme" + heads + "\r\n"); status(got) != "200" {
			t.Fatal(got)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if s := metric(); strings.Contains(s, "gateway_upstream_spares_total 0\n") {
		t.Error("no spare was used")
	}
	for _, s := range b.all() {
		if strings.Count(s, "GET") != 1 {
			t.Errorf("clients shared a connection: %q", s)
		}
	}
}

// Nothing is stored: two requests are two requests.
//
// Covers: case 311
func TestNothingIsCached(t *testing.T) {
	b := newBackend(t, ok)
	w := newWorld(t, b, nil)
	for _, token := range []string{"one", "two"} {
		w.ask("GET /acme" + heads + "Authorization: Bearer " + token + "\r\n\r\n")
	}
	if got := strings.Join(b.all(), ""); !strings.Contains(got, "one") || !strings.Contains(got, "two") {
		t.Errorf("the destination got %q", got)
	}
}

func TestConfigurationIsChecked(t *testing.T) {
	_, err := gateway.New(gateway.Config{Routes: []gateway.Route{{Name: "x", Hosts: []string{"a/b"}, Next: "http://x"}}})
	for _, want := range []string{"no TLS configuration for clients", "no clock", "is not a name", "is not https://", "for the next hop"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}
