package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

const head = " HTTP/1.1\r\nHost: fhir.test\r\n"

// awkwardRequests are legal, and change on the way through most intermediaries.
var awkwardRequests = []struct{ name, raw string }{
	{"plain", "GET /acme/x" + head + "\r\n"},
	{"case of names", "GET /acme/x HTTP/1.1\r\nhOsT: fhir.test\r\nx-UPPER-lower: A\r\n\r\n"},
	{
		"order and doubles",
		"GET /acme/x" + head + "X-B: 2\r\nX-A: 1\r\nx-b: 3\r\nX-B: 2\r\n\r\n",
	},
	{"spaces of values", "GET /acme/x" + head + "X-A:1\r\nX-B: \t 2 \t\r\nX-C:\r\n\r\n"},
	{"encoded path", "GET /acme/a%2Fb/%7E%2e%2E/c" + head + "\r\n"},
	{"doubled slashes", "GET /acme//x/./y" + head + "\r\n"},
	{"dot segments", "GET /acme/x/../y" + head + "\r\n"},
	{"odd query", "GET /acme/x?a=b&&c=%41+%20&" + head + "\r\n"},
	{"absolute form", "GET https://fhir.test/acme/x" + head + "\r\n"},
	{"asterisk form", "OPTIONS *" + head + "\r\n"},
	{"own method", "M-SEARCH /acme/x" + head + "\r\n"},
	{
		"connection options",
		"GET /acme/x" + head + "Connection: keep-alive, X-Trace\r\nX-Trace: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\n\r\n",
	},
	{"obs-text", "GET /acme/x" + head + "X-A: caf\xe9\r\n\r\n"},
	{"underscore", "GET /acme/x" + head + "x_under_score: 1\r\n\r\n"},
	{"long head", "GET /acme/x" + head + "X-A: " + strings.Repeat("a", 30_000) + "\r\n\r\n"},
	{"body of a GET", "GET /acme/x" + head + "Content-Length: 5\r\n\r\nhello"},
	{"length 003", "POST /acme/x" + head + "Content-Length: 003\r\n\r\nabc"},
	{
		"chunk borders",
		"PUT /acme/x" + head + "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0003\r\ncde\r\n0\r\n\r\n",
	},
	{
		"extensions",
		"PUT /acme/x" + head + "Transfer-Encoding: chunked\r\n\r\n2;a=\"b c\"\r\nab\r\n0;z\r\n\r\n",
	},
	{
		"trailers",
		"PUT /acme/x" + head + "Trailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX-T: u\r\n\r\n",
	},
}

// awkwardAnswers likewise; close: only the end of the connection ends it.
var awkwardAnswers = []struct {
	name, raw string
	close     bool
}{
	{"plain", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false},
	{"case of names", "HTTP/1.1 200 OK\r\ncOnTeNt-LENGTH: 2\r\nx-UPPER: 1\r\n\r\nok", false},
	{
		"order and doubles",
		"HTTP/1.1 200 OK\r\nX-B: 2\r\nX-A: 1\r\nx-b: 3\r\nContent-Length: 2\r\n\r\nok",
		false,
	},
	{
		"spaces of values",
		"HTTP/1.1 200 OK\r\nX-A:1\r\nX-B: \t 2 \t\r\nContent-Length: 2\r\n\r\nok",
		false,
	},
	{"reason", "HTTP/1.1 200 All is well\r\nContent-Length: 2\r\n\r\nok", false},
	{"empty reason", "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", false},
	{"own status", "HTTP/1.1 299 Own\r\nContent-Length: 2\r\n\r\nok", false},
	{
		"server and date",
		"HTTP/1.1 200 OK\r\nServer: d/1\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 2\r\n\r\nok",
		false,
	},
	{
		"private location",
		"HTTP/1.1 302 Found\r\nLocation: https://origin.test/x\r\nContent-Length: 0\r\n\r\n",
		false,
	},
	{
		"cookies",
		"HTTP/1.1 200 OK\r\nSet-Cookie: a=b; Domain=origin.test\r\nSet-Cookie: c=d\r\nContent-Length: 2\r\n\r\nok",
		false,
	},
	{"obs-text", "HTTP/1.1 200 OK\r\nX-A: caf\xe9\r\nContent-Length: 2\r\n\r\nok", false},
	{
		"keep-alive",
		"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok",
		false,
	},
	{
		"early hints",
		"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		false,
	},
	{"204", "HTTP/1.1 204 No Content\r\nX-A:1\r\n\r\n", false},
	{
		"304 with length",
		"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\nETag: W/\"1\"\r\n\r\n",
		false,
	},
	{
		"chunk borders",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0003\r\ncde\r\n0\r\n\r\n",
		false,
	},
	{
		"extensions",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nab\r\n0;z\r\n\r\n",
		false,
	},
	{
		"trailers",
		"HTTP/1.1 200 OK\r\nTrailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX-T: u\r\n\r\n",
		false,
	},
	{"until close", "HTTP/1.1 200 OK\r\nX-A:1\r\n\r\nas long as it takes", true},
	{"HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", true},
}

// fidelity prints which awkward messages arrive as they were sent.
func (h *env) fidelity() {
	targets := h.targets[1:]
	fmt.Printf("%-30s", "unchanged?")
	for _, t := range targets {
		fmt.Printf(" %14s", t.name)
	}

	fmt.Println()
	requests := map[string]int{}
	answers := map[string]int{}
	line := func(name string, same func(*target) bool, count map[string]int) {
		fmt.Printf("%-30s", name)
		for _, t := range targets {
			s := same(t)
			if s {
				count[t.name]++
			}
			fmt.Printf(" %14s", map[bool]string{
				true:  "yes",
				false: "CHANGED",
			}[s])
		}

		fmt.Println()
	}

	for _, a := range awkwardRequests {
		line("request: "+a.name, func(t *target) bool {
			return h.requestPasses(t, a.raw)
		}, requests)
	}

	for i, a := range awkwardAnswers {
		line("answer: "+a.name, func(t *target) bool {
			return h.answerPasses(t, i, a.raw)
		}, answers)
	}

	fmt.Printf("%-30s", "of 20 and 20")
	for _, t := range targets {
		fmt.Printf(" %14s", fmt.Sprintf("%d / %d", requests[t.name], answers[t.name]))
	}

	fmt.Print("\n\n")
}

// exchange sends raw bytes and returns what comes within a while.
func (h *env) exchange(t *target, raw string, want int) string {
	c, err := tls.Dial("tcp", t.addr, h.tls(t))
	if err != nil {
		return ""
	}
	defer c.Close()

	c.SetDeadline(time.Now().Add(time.Second))
	io.WriteString(c, raw)
	var got []byte
	b := make([]byte, 64<<10)
	for len(got) < want || want == 0 {
		n, err := c.Read(b)
		got = append(got, b[:n]...)
		if err != nil {
			break
		}
		if want == 0 && strings.Contains(string(got), "\r\n\r\n") {
			break
		}
	}

	return string(got)
}

func (h *env) requestPasses(t *target, raw string) bool {
	h.exchange(h.origin, "GET /acme/recorded"+head+"\r\n", 0)
	h.exchange(t, raw, 0)
	got := h.exchange(h.origin, "GET /acme/recorded"+head+"\r\n", len(raw)+38)
	_, body, _ := strings.Cut(got, "\r\n\r\n")
	return body == raw
}

func (h *env) answerPasses(t *target, i int, raw string) bool {
	return h.exchange(t, "GET /acme/answer/"+strconv.Itoa(i)+head+"\r\n", len(raw)) == raw
}
