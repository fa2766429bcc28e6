package server_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"fhirdest.example/server/servertest"
)

const token = "/acme/oauth/token"

// probe is a whole request that a smuggler would hide behind another.
const probe = "GET /acme/fhir/metadata HTTP/1.1\r\nHost: fhir.test\r\n\r\n"

// post is the head of a request up to its framing.
func post(fields string) string {
	return "POST " + token + " HTTP/1.1\r\nHost: fhir.test\r\nContent-Type: application/x-www-form-urlencoded\r\n" +
		fields + "\r\n"
}

// answers takes what came back apart into whole answers.
func answers(t *testing.T, text string) (statuses []int) {
	t.Helper()
	r := bufio.NewReader(strings.NewReader(text))
	for {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			return statuses
		}

		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Errorf("an answer is cut: %v", err)
		}
		statuses = append(statuses, res.StatusCode)
	}
}

// Reached directly, the destination answers a request that could be framed in
// two ways with one 400 and closes; what follows it is never read as a
// request. (Whether it closed shows in that the read ends before the deadline.)
//
// Covers: case 289, case 290, case 291, case 292
func TestAmbiguousFramingIsRefused(t *testing.T) {
	d := servertest.Start(t)
	chunked := "5\r\nhello\r\n0\r\n\r\n"
	for name, text := range map[string]string{
		"CL and TE": post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n") + chunked,
		"TE and CL": post(
			"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n") + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(probe),
			probe),
		"xchunked":           post("Transfer-Encoding: xchunked\r\n") + chunked,
		"chunked, chunked":   post("Transfer-Encoding: chunked, chunked\r\n") + chunked,
		"chunked, identity":  post("Transfer-Encoding: chunked, identity\r\n") + chunked,
		"gzip, chunked":      post("Transfer-Encoding: gzip, chunked\r\n") + chunked,
		"two codings":        post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n") + chunked,
		"coding after TAB":   post("Transfer-Encoding:\tchunked\r\n") + chunked,
		"coding after VT":    post("Transfer-Encoding: \vchunked\r\n") + chunked,
		"coding with comma":  post("Transfer-Encoding: chunked,\r\n") + chunked,
		"space before colon": post("Transfer-Encoding : chunked\r\n") + chunked,
		"folded coding":      post("Transfer-Encoding:\r\n chunked\r\n") + chunked,
		"upper-case coding":  post("Transfer-Encoding: CHUNKED\r\n") + chunked,
		"underscore":         post("Transfer_Encoding: chunked\r\n") + chunked,
		"identity":           post("Transfer-Encoding: identity\r\nContent-Length: 5\r\n") + "hello",
		"coding in 1.0": "POST " + token +
			" HTTP/1.0\r\nHost: fhir.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked,
		"length +3":                post("Content-Length: +3\r\n") + "abc",
		"length -1":                post("Content-Length: -1\r\n") + "abc",
		"length 0x3":               post("Content-Length: 0x3\r\n") + "abc",
		"length 3_0":               post("Content-Length: 3_0\r\n") + "abc",
		"length 3, 3":              post("Content-Length: 3, 3\r\n") + "abc",
		"length empty":             post("Content-Length: \r\n") + "abc",
		"length 2^64+3":            post("Content-Length: 18446744073709551619\r\n") + "abc",
		"lengths equal":            post("Content-Length: 3\r\nContent-Length: 3\r\n") + "abc",
		"lengths differ":           post("Content-Length: 3\r\nContent-Length: 30\r\n") + "abc",
		"bare LF":                  strings.ReplaceAll(post("Content-Length: 3\r\n"), "\r\n", "\n") + "abc",
		"one bare LF":              post("X-A: b\nContent-Length: 3\r\n") + "abc",
		"bare CR":                  post("X-A: b\rc\r\nContent-Length: 3\r\n") + "abc",
		"folded field":             post("X-A: b\r\n c\r\nContent-Length: 3\r\n") + "abc",
		"space before field":       post(" X-A: b\r\nContent-Length: 3\r\n") + "abc",
		"NUL":                      post("X-A: b\x00\r\nContent-Length: 3\r\n") + "abc",
		"two hosts":                "GET /acme/fhir/metadata HTTP/1.1\r\nHost: fhir.test\r\nHost: evil.test\r\n\r\n",
		"two equal hosts":          "GET /acme/fhir/metadata HTTP/1.1\r\nHost: fhir.test\r\nHost: fhir.test\r\n\r\n",
		"no host":                  "GET /acme/fhir/metadata HTTP/1.1\r\n\r\n",
		"host with a user":         "GET /acme/fhir/metadata HTTP/1.1\r\nHost: fhir.test@evil\r\n\r\n",
		"no colon":                 "GET /acme/fhir/metadata HTTP/1.1\r\nHost: fhir.test\r\nnonsense\r\n\r\n",
		"space in the target":      "GET /acme/fhir/metadata x HTTP/1.1\r\nHost: fhir.test\r\n\r\n",
		"empty line before":        "\r\nGET /acme/fhir/metadata HTTP/1.1\r\nHost: fhir.test\r\n\r\n",
		"lower-case version":       "GET /acme/fhir/metadata http/1.1\r\nHost: fhir.test\r\n\r\n",
		"not HTTP":                 "\x16\x03\x01 hello\r\n\r\n",
		"preface of HTTP/2":        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"HTTP/0.9":                 "GET /acme/fhir/metadata\r\n\r\n",
		"HTTP/1.0":                 "GET /acme/fhir/metadata HTTP/1.0\r\nHost: fhir.test\r\n\r\n",
		"a framed one, then a bad": probe + post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n") + chunked,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := answers(t, d.Raw(text+probe+probe))
			if strings.HasPrefix(name, "a framed one") && len(got) == 2 && got[0] == 200 {
				got = got[1:]
			}
			if len(got) != 1 || got[0] != 400 && got[0] != 505 {
				t.Errorf("answers %v, want one refusal", got)
			}
		})
	}
}

// What is refused before any handler sees it has a body, and leaves a trace
// that the answer names, like every other refusal.
func TestEarlyRefusalsLeaveTraces(t *testing.T) {
	d := servertest.Start(t)
	for name, c := range map[string]struct {
		status int
		text   string
	}{
		"two lengths": {400, post("Content-Length: 3\r\nContent-Length: 3\r\n") + "abc"},
		"two codings": {400, post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n"},
		"HTTP/1.0":    {505, "GET /acme/fhir/metadata HTTP/1.0\r\nHost: fhir.test\r\n\r\n"},
		"a large head": {
			431,
			"GET /acme/fhir/metadata HTTP/1.1\r\nHost: fhir.test\r\nX: " + strings.Repeat("x", 1<<17) + "\r\n\r\n",
		},
		"an expectation":     {417, post("Content-Length: 3\r\nExpect: the worst\r\n") + "abc"},
		"and another":        {417, post("Content-Length: 3\r\nExpect: 100-continue\r\nExpect: x=y\r\n") + "abc"},
		"a target of no URL": {400, "GET /acme/fhir/%zz HTTP/1.1\r\nHost: fhir.test\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			res, err := http.ReadResponse(bufio.NewReader(strings.NewReader(d.Raw(c.text))), nil)
			if err != nil {
				t.Fatal(err)
			}
			var body struct{ Error, Error_Description string }
			if err := json.NewDecoder(res.Body).Decode(&body); err != nil || body.Error == "" ||
				body.Error_Description == "" || strings.ContainsAny(body.Error_Description, `"\`) {
				t.Errorf("body %+v, %v", body, err)
			}

			trace := res.Header.Get("Trace-Id")
			if res.StatusCode != c.status || res.Header.Get("Cache-Control") != "no-store" || trace == "" ||
				!strings.Contains(d.Log.String(), "trace="+trace+" action=request outcome="+body.Error) {
				t.Errorf("%d, want %d; %v", res.StatusCode, c.status, res.Header)
			}
		})
	}

	text := d.Raw(post("Content-Length: 3\r\nConnection: close\r\nExpect: 100-Continue\r\n") + "abc")
	if got := answers(t, text); len(got) != 2 || got[0] != 100 || got[1] != 400 {
		t.Errorf("answers %v, want 100 and the endpoint's own 400", got)
	}
}

// A chunk that is not one ends the message at the fault.
//
// Covers: case 290
func TestBadChunksAreRefused(t *testing.T) {
	d := servertest.Start(t)
	head := post("Transfer-Encoding: chunked\r\n")
	for name, body := range map[string]string{
		"size with sign":  "+5\r\nhello\r\n0\r\n\r\n",
		"size with 0x":    "0x5\r\nhello\r\n0\r\n\r\n",
		"size with space": " 5\r\nhello\r\n0\r\n\r\n",
		"size too long":   "10000000000000005\r\nhello\r\n0\r\n\r\n",
		"no CRLF after":   "5\r\nhelloX0\r\n\r\n",
		"LF for CRLF":     "5\nhello\n0\n\n",
		"framing trailer": "5\r\nhello\r\n0\r\nContent-Length: 3\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := answers(t, d.Raw(head+body+probe))
			if len(got) != 1 || got[0] != 400 {
				t.Errorf("answers %v, want one 400", got)
			}
		})
	}
}

// What is framed well is served, in order, and a body that nobody asked for is
// never taken for the next request.
//
// Covers: case 292, case 293, case 320
func TestWellFramedRequestsAreServed(t *testing.T) {
	d := servertest.Start(t)
	last := "GET /acme/fhir/metadata HTTP/1.1\r\nHost: fhir.test\r\nConnection: close\r\n\r\n"
	for name, c := range map[string]struct {
		text string
		want []int
	}{
		"pipelined":          {strings.Repeat(probe, 19) + last, append(repeat(200, 19), 200)},
		"length 003":         {post("Content-Length: 003\r\n") + "a=b" + last, []int{400, 200}},
		"space after length": {post("Content-Length: 3 \r\n") + "a=b" + last, []int{400, 200}},
		"GET with a body": {
			"GET /acme/fhir/metadata HTTP/1.1\r\nHost: fhir.test\r\nContent-Length: 3\r\n\r\nabc" + last,
			[]int{200, 200},
		},
		"chunked GET": {
			"GET /acme/fhir/metadata HTTP/1.1\r\nHost: fhir.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" + last,
			[]int{200, 200},
		},
		"hidden request": {
			fmt.Sprintf("GET /acme/fhir/metadata HTTP/1.1\r\nHost: fhir.test\r\nContent-Length: %d\r\n\r\n%s",
				len(probe), probe) + last,
			[]int{200, 200},
		},
		"DELETE with a body": {
			"DELETE /acme/fhir/Patient/1 HTTP/1.1\r\nHost: fhir.test\r\nContent-Length: 3\r\n\r\nabc" + last,
			[]int{401, 200},
		},
		"chunk extension": {
			post("Transfer-Encoding: chunked\r\n") + "3;x=y\r\na=b\r\n0\r\nX-T: v\r\n\r\n" + last,
			[]int{400, 200},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := answers(t, d.Raw(c.text)); fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("answers %v, want %v", got, c.want)
			}
		})
	}
}

func repeat(n, times int) []int {
	out := make([]int, times)
	for i := range out {
		out[i] = n
	}
	return out
}

// Covers: case 313
func TestLargeHeadsAreRefused(t *testing.T) {
	d := servertest.Start(t)
	for name, text := range map[string]string{
		"one field": "GET /acme/fhir/metadata HTTP/1.1\r\nHost: fhir.test\r\nX: " + strings.Repeat("x",
			2<<20) + "\r\n\r\n",
		"many fields": "GET /acme/fhir/metadata HTTP/1.1\r\nHost: fhir.test\r\n" + strings.Repeat("X-A: b\r\n",
			10_000) + "\r\n",
		"target": "GET /acme/fhir/" + strings.Repeat("x", 100<<10) + " HTTP/1.1\r\nHost: fhir.test\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			if got := answers(t, d.Raw(text)); len(got) != 1 || got[0] != 431 {
				t.Errorf("%s: answers %v, want 431", name, got)
			}
		})
	}
}
