package gateway_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// awkward are requests that other gateways change, and that must arrive as they are.
var awkward = map[string]string{
	"plain":        "GET /acme/fhir/metadata" + heads + "\r\n",
	"header case":  "GET /acme HTTP/1.1\r\nhOsT: fhir.example\r\nx-UPPER-lower: A\r\nX-b:1\r\nX-B: 2\r\nx-b:\t3 \r\n\r\n",
	"odd path":     "GET /acme/fhir/Patient/a%2Fb/%2e%2e//;v=1?x=%00&y#f" + heads + "\r\n",
	"dots":         "GET /acme/../acme//./x" + heads + "\r\n",
	"query":        "GET /acme?" + heads + "\r\n",
	"other prefix": "GET /.well-known/oauth-authorization-server/acme" + heads + "\r\n",
	"absolute":     "GET https://fhir.example/acme/x" + heads + "\r\n",
	"options *":    "OPTIONS *" + heads + "\r\n",
	"trace":        "TRACE /acme" + heads + "Max-Forwards: 0\r\n\r\n",
	"odd method":   "m-SEARCH!~ /acme" + heads + "\r\n",
	"hop by hop": "GET /acme" + heads +
		"Connection: keep-alive, Authorization, X-Forwarded-For\r\nAuthorization: Bearer x\r\nKeep-Alive: 5\r\nTE: trailers\r\nProxy-Connection: x\r\n\r\n",
	"forwarding headers": "GET /acme" + heads +
		"X-Forwarded-For: 1.2.3.4\r\nForwarded: for=1\r\nVia: 1.1 x\r\nX_Forwarded_For: 2\r\n\r\n",
	"latin1":          "GET /acme" + heads + "X: caf\xe9 \xff\r\n\r\n",
	"long head":       "GET /acme" + heads + "X: " + strings.Repeat("y", 60_000) + "\r\n\r\n",
	"GET with a body": "GET /acme" + heads + "Content-Length: 5\r\n\r\nGET /",
	"003":             "POST /acme" + heads + "Content-Length: 003\r\n\r\nabc",
	"chunked": "PUT /acme" + heads +
		"Transfer-Encoding: chunked\r\nTrailer: T\r\n\r\n5;a=\"b c\";d\r\nhello\r\n0A\r\n0123456789\r\n00\r\nT: u\r\nt:v\r\n\r\n",
	"chunked DELETE": "DELETE /acme" + heads + "tRANSFER-ENCODING:chunked\r\n\r\n0\r\n\r\n",
	"multipart": "POST /acme" + heads +
		"Content-Type: multipart/mixed; boundary=\"x\"\r\nContent-Length: 10\r\nContent-Encoding: gzip\r\n\r\n\x00\x01\r\n\r\n\xff\xfeab",
}

// Covers: ER-07, ER-12, ER-16, ER-17, case 293, 301, 302, 304, 320
func TestRequestsArriveAsTheyAre(t *testing.T) {
	b := newBackend(t, ok)
	w := newEnv(t, b, nil)
	c := w.dial()
	br := bufio.NewReader(c)
	var sent strings.Builder

	for name, in := range awkward {
		method, _, _ := strings.Cut(in, " ")
		io.WriteString(c, in)
		resp, err := http.ReadResponse(br, &http.Request{Method: method})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 {
			t.Errorf("%s: %d %s", name, resp.StatusCode, body)
		}

		sent.WriteString(in)
	}

	got := b.all()
	if len(got) != 1 || got[0] != sent.String() {
		t.Errorf("over %d connections, not one, or changed:\n%q\nsent:\n%q", len(got), got, sent.String())
	}

	for _, m := range w.evidence.await(t, 2*len(awkward)) {
		if m.In != m.Out || m.In.Bytes == 0 || m.Route != "acme" || m.Time.IsZero() {
			t.Errorf("evidence %+v", m)
		}
	}
}

// answers are what a destination may send; each ends where it announces.
var answers = map[string]string{
	"length":       "HTTP/1.1 200 OK\r\ncontent-LENGTH:5\r\nX-a: 1\r\nx-A:2\r\n\r\nhello",
	"no reason":    "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
	"odd status":   "HTTP/1.1 299 \xe9 odd\r\nContent-Length: 0\r\n\r\n",
	"chunked":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nTrailer: T\r\n\r\n005;x=y\r\nhello\r\n0\r\nT: u\r\n\r\n",
	"interim":      "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 202 Accepted\r\nContent-Location: https://fhir.example/acme/x\r\nContent-Length: 0\r\n\r\n",
	"204":          "HTTP/1.1 204 No Content\r\nX: y\r\n\r\n",
	"304":          "HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\nETag: W/\"1\"\r\n\r\n",
	"private name": "HTTP/1.1 302 Found\r\nLocation: https://destination.localhost:9443/x\r\nServer: x\r\nContent-Length: 0\r\n\r\n",
	"404":          "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
	"500":          "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\nno",
	"nosniff":      "HTTP/1.1 200 OK\r\nContent-Type: application/fhir+ndjson\r\nContent-Encoding: gzip\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x00\x01",
	"until close":  "HTTP/1.1 200 OK\r\nX: y\r\n\r\nas long as it takes",
	"1.0":          "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
	"close":        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
}

// script reads one request at a time and answers each in the same way.
func script(answer string) func(net.Conn) {
	return func(c net.Conn) {
		br := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}

			io.Copy(io.Discard, req.Body)
			io.WriteString(c, answer)
			if strings.Contains(answer, "as long") || strings.Contains(answer, "close") ||
				strings.HasPrefix(answer, "HTTP/1.0") {
				return
			}
		}
	}
}

// Covers: ER-12, ER-16, case 310
func TestAnswersArriveAsTheyAre(t *testing.T) {
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t, script(answer))
			w := newEnv(t, b, nil)
			if got := w.ask("GET /acme" + heads + "\r\n"); got != answer {
				t.Errorf("%s:\n%q\nwant\n%q", name, got, answer)
			}
			list := w.evidence.await(t, 2)
			last := list[len(list)-1]
			final := answer

			if name == "interim" {
				final = answer[strings.Index(answer, "HTTP/1.1 202"):]
			}
			if !last.Response || last.In != last.Out || last.In.Sum != sha256.Sum256([]byte(final)) {
				t.Errorf("evidence %+v", last)
			}
		})
	}
}

func TestHeadHasNoBody(t *testing.T) {
	b := newBackend(t, script("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"))
	w := newEnv(t, b, nil)
	in := "HEAD /acme" + heads + "\r\n"
	if got := w.ask(in + in); strings.Count(got, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n") != 2 {
		t.Errorf("two HEADs are answered %q", got)
	}
}

// Covers: case 320
func TestPipelining(t *testing.T) {
	b := newBackend(t, ok)
	w := newEnv(t, b, nil)
	var in, want strings.Builder

	for i := range 20 {
		fmt.Fprintf(&in, "POST /acme/%d%sContent-Length: 3\r\n\r\nabc", i, heads)
		body := fmt.Sprintf("POST /acme/%d", i)
		fmt.Fprintf(&want, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}

	if got := w.ask(in.String()); got != want.String() {
		t.Errorf("20 requests in one packet are answered\n%s", got)
	}
	if got := b.all(); len(got) != 1 || got[0] != in.String() {
		t.Errorf("the destination got %q", got)
	}
}

// A body larger than every buffer, both ways at once, with an answer that begins
// before the request ends.
func TestBodiesBothWaysAtOnce(t *testing.T) {
	const size = 8 << 20
	b := newBackend(t, func(c net.Conn) {
		br := bufio.NewReader(c)
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size)
		io.Copy(c, req.Body)
	})
	w := newEnv(t, b, nil)
	c := w.dial()

	body := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	go func() {
		fmt.Fprintf(c, "POST /acme%sContent-Length: %d\r\n\r\n", heads, size)
		c.Write(body)
	}()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}

	got, err := io.ReadAll(resp.Body)
	if err != nil || !bytes.Equal(got, body) {
		t.Fatalf("%d bytes came back, %v", len(got), err)
	}
	list := w.evidence.await(t, 2)
	for _, m := range list {
		if m.In != m.Out || m.In.Bytes < size {
			t.Errorf("%+v", m)
		}
	}
}

// Covers: case 315
func TestExpectContinue(t *testing.T) {
	asked := make(chan bool, 1)
	b := newBackend(t, func(c net.Conn) {
		br := bufio.NewReader(c)
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}

		asked <- br.Buffered() == 0
		io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
		io.Copy(io.Discard, req.Body)
		io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
	})
	w := newEnv(t, b, nil)
	c := w.dial()
	io.WriteString(c, "POST /acme"+heads+"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")

	br := bufio.NewReader(c)
	line, _ := br.ReadString('\n')
	if line != "HTTP/1.1 100 Continue\r\n" || !<-asked {
		t.Fatalf("before the body: %q", line)
	}
	br.ReadString('\n')
	io.WriteString(c, "abc")
	if line, _ = br.ReadString('\n'); line != "HTTP/1.1 204 No Content\r\n" {
		t.Fatalf("after the body: %q", line)
	}
}

// A final answer instead of 100: what the client sends next could be the body or
// another request, so nothing of it may pass.
//
// Covers: case 315
func TestEarlyFinalAnswer(t *testing.T) {
	b := newBackend(t, func(c net.Conn) {
		http.ReadRequest(bufio.NewReader(c))
		io.WriteString(c, "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
		io.Copy(io.Discard, c)
	})
	w := newEnv(t, b, nil)
	c := w.dial()
	head := "POST /acme" + heads + "Expect: 100-continue\r\nContent-Length: 300\r\n\r\n"
	io.WriteString(c, head)

	got := make([]byte, 100)
	n, _ := c.Read(got)
	if status(string(got[:n])) != "417" {
		t.Fatalf("answered %q", got[:n])
	}
	io.WriteString(c, "GET /acme/smuggled"+heads+"\r\n")
	rest, _ := io.ReadAll(c)
	if len(rest) > 0 {
		t.Errorf("more is answered: %q", rest)
	}

	eventually(t, "the upstream ends", func() bool { return b.conns[0].ended() })
	if got := b.all(); len(got) != 1 || got[0] != head {
		t.Errorf("the destination got %q", got)
	}
}

func (r *recorded) ended() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.done
}

// Server-sent events and NDJSON: each piece passes at once, however long the next
// takes.
//
// Covers: ER-18
func TestStreamingWithoutDelay(t *testing.T) {
	step := make(chan bool)
	b := newBackend(t, func(c net.Conn) {
		http.ReadRequest(bufio.NewReader(c))
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
		for range 3 {
			<-step
			io.WriteString(c, "9\r\ndata: x\n\n\r\n")
		}

		<-step
		io.WriteString(c, "0\r\n\r\n")
	})
	w := newEnv(t, b, nil)
	c := w.dial()
	io.WriteString(c, "GET /acme"+heads+"\r\n")

	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}

	for range 3 {
		step <- true
		piece := make([]byte, 9)
		if _, err := io.ReadFull(resp.Body, piece); err != nil || string(piece) != "data: x\n\n" {
			t.Fatalf("%q, %v", piece, err)
		}
	}

	close(step)
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
}

// The asynchronous pattern: kick-off, polling, retrieval, cancelling, all as they are.
//
// Covers: ER-18
func TestAsynchronousPattern(t *testing.T) {
	polls := 0
	b := newBackend(t, func(c net.Conn) {
		br := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}

			switch {
			case req.Header.Get("Prefer") == "respond-async":
				io.WriteString(c,
					"HTTP/1.1 202 Accepted\r\nContent-Location: https://fhir.example/acme/status/1\r\nContent-Length: 0\r\n\r\n")
			case req.Method == "DELETE":
				io.WriteString(c, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
			case strings.Contains(req.RequestURI, "status") && polls < 2:
				polls++
				io.WriteString(c,
					"HTTP/1.1 202 Accepted\r\nX-Progress: working\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")

			default:
				io.WriteString(c,
					"HTTP/1.1 200 OK\r\nContent-Type: application/fhir+ndjson\r\nContent-Length: 6\r\n\r\n{}\n{}\n")
			}
		}
	})
	w := newEnv(t, b, nil)
	got := w.ask("GET /acme/fhir/$export" + heads + "Prefer: respond-async\r\n\r\n" + strings.Repeat(
		"GET /acme/status/1"+heads+"\r\n", 3) +
		"GET /acme/out/1.ndjson" + heads + "\r\n" + "DELETE /acme/status/1" + heads + "\r\n")

	var statuses []string
	for _, l := range strings.Split(got, "\r\n") {
		if s := status(l); s != "" {
			statuses = append(statuses, s)
		}
	}

	// The bodies have no line end, so the line after one begins with it.
	if strings.Join(statuses, " ") != "202 202 202 200" || strings.Count(got, "{}\n{}\n") != 2 ||
		!strings.Contains(got, "Content-Location: https://fhir.example/acme/status/1\r\n") {
		t.Errorf("%v in %q", statuses, got)
	}
}

// Covers: ER-19
func TestTwoHops(t *testing.T) {
	b := newBackend(t, ok)
	delegate := newEnv(t, b, nil)
	gw := newEnv(t, &backend{addr: delegate.addr, pki: delegate.pki}, delegateNext)
	in := awkward["chunked"] + awkward["header case"]
	got := gw.ask(in)
	if strings.Count(got, "200 OK") != 2 || len(b.all()) != 1 || b.all()[0] != in {
		t.Errorf("through two hops: %q; the destination got %q", got, b.all())
	}

	a, z := gw.evidence.await(t, 4), delegate.evidence.await(t, 4)
	for i := range 4 {
		if a[i].Out != z[i].In {
			t.Errorf("hops differ: %+v, %+v", a[i], z[i])
		}
	}
}

// Back-pressure: a client that does not read keeps the destination from writing, and
// memory does not grow.
func TestBackPressure(t *testing.T) {
	written := make(chan int, 1)
	b := newBackend(t, func(c net.Conn) {
		http.ReadRequest(bufio.NewReader(c))
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
		c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		total := 0
		for {
			n, err := c.Write(make([]byte, 1<<20))
			if total += n; err != nil {
				break
			}
		}

		written <- total
	})
	w := newEnv(t, b, nil)
	c := w.dial()
	io.WriteString(c, "GET /acme"+heads+"\r\n")

	if n := <-written; n > 64<<20 {
		t.Errorf("%d bytes were taken from the destination for a client that reads none", n)
	}
}
