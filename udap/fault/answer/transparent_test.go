package answer_test

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"fhirdest.example/certs"
	"fhirdest.example/udap/fault/answer"
)

// scripted answers every request as its test says.
type scripted struct {
	status int
	header http.Header
	parts  []string // of the body, flushed one by one
}

func (s *scripted) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	maps.Copy(w.Header(), s.header)
	w.Header().Set("Date", "Mon, 30 Nov 2026 12:00:00 GMT")
	if s.status != 0 {
		w.WriteHeader(s.status)
	}
	for _, part := range s.parts {
		_, _ = io.WriteString(w, part) // to a test
		if len(s.parts) > 1 {
			_ = http.NewResponseController(w).Flush()
		}
	}
}

// idle are tools with which nothing can be made: no answer here is signed.
func idle(applied func(*http.Request, string)) answer.Tools {
	return answer.Tools{
		Base:        "https://fhir.test/acme/fhir",
		Issuer:      "https://fhir.test/acme/oauth",
		Elsewhere:   "https://elsewhere.test",
		Listener:    true,
		Communities: []answer.Community{{Issuing: &certs.CA{}}, {Issuing: &certs.CA{}}},
		Applied:     applied,
	}
}

// listen serves a handler and returns its address.
func listen(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// raw sends a request over a connection of its own and returns every byte of the
// answer that has a name.
func raw(t *testing.T, address, line, name string) string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: fhir.test\r\nAnswer: %s\r\nConnection: close\r\n\r\n", line, name)
	text, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}

	return string(text)
}

// An answer that a fault does not change has the same bytes on the wire as without the
// decorator: framing, order and all.
func TestOtherAnswersAreTheSameBytes(t *testing.T) {
	long := strings.Repeat("0123456789", 1000)
	others := []string{
		"GET /acme/fhir/metadata",
		"GET /acme/fhir/.well-known/smart-configuration",
		"GET /acme/oauth/introspect",
		"GET /other",
		"OPTIONS /acme/oauth/token",
		"HEAD /acme/fhir/.well-known/udap",
		"GET /acme/fhirs/Patient",
	}
	refused := []string{
		"GET /acme/fhir/.well-known/udap",
		"POST /acme/oauth/register",
		"POST /acme/oauth/token",
		"GET /acme/oauth/jwks",
		"GET /acme/oauth/authorize",
		"GET /acme/fhir/Patient/1",
	}
	answers := map[string]*scripted{
		"a page":            {header: http.Header{"Content-Type": {"text/html"}}, parts: []string{page}},
		"nothing":           {status: 204},
		"sniffed":           {parts: []string{"some text"}},
		"in parts":          {status: 200, parts: []string{"a", "b", long}},
		"long":              {status: 200, parts: []string{long}},
		"a long refusal":    {status: 404, parts: []string{long, long}},
		"a refusal":         {status: 400, header: http.Header{"Etag": {`"1"`}}, parts: []string{`{"error":"invalid_client"}`}},
		"a redirect":        {status: 302, header: http.Header{"Location": {"/acme/oauth/consent"}}},
		"a length":          {status: 200, header: http.Header{"Content-Length": {"3"}}, parts: []string{"abc"}},
		"two of one header": {status: 200, header: http.Header{"X-Lab": {"1", "2"}}, parts: []string{"abc"}},
	}
	byName := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answers[r.Header.Get("Answer")].ServeHTTP(w, r)
	})
	plain := listen(t, byName)
	for _, f := range answer.All() {
		var applied atomic.Bool
		faulty := listen(t, f.Apply(byName, idle(func(*http.Request, string) { applied.Store(true) })))
		for name, h := range answers {
			lines := others
			if h.status >= 400 {
				lines = refused
			}
			for _, line := range lines {
				applied.Store(false)
				want, got := raw(t, plain, line, name), raw(t, faulty, line, name)
				if want != got && !applied.Load() || applied.Load() && h.status < 400 {
					t.Fatalf("%s, %s, %s (%t):\n%q\n%q", f.Name, name, line, applied.Load(), got, want)
				}
			}
		}
	}
}

const page = "<!DOCTYPE html><title>A page</title>"

// FuzzAnswersOfOtherKinds sends any answer through any fault: where the fault was not
// applied, status, header and body are those of the destination.
func FuzzAnswersOfOtherKinds(f *testing.F) {
	all := answer.All()
	paths := []string{
		"/acme/fhir/.well-known/udap",
		"/acme/oauth/register",
		"/acme/oauth/token",
		"/acme/oauth/jwks",
		"/acme/oauth/userinfo",
		"/acme/oauth/authorize",
		"/acme/oauth/lab-revoked.crl",
		"/acme/fhir/Patient/1",
	}
	for i := range paths {
		f.Add(uint(i), uint(i), 200, `{"signed_metadata":"e30.e30.e30","keys":[],"scope":"a/b.c d"}`, "https://a.test/?code=1&state=2")
		f.Add(uint(i*9), uint(i), 302, ``, "https://a.test/?code=1&state=2")
		f.Add(uint(i*5), uint(i), 201, `{"grant_types":["a"],"client_id":7,"link":3}`, "::")
	}

	f.Fuzz(func(t *testing.T, which, where uint, status int, body, location string) {
		if status < 200 || status > 599 {
			return
		}
		h := &scripted{
			status: status,
			header: http.Header{"Location": {location}},
			parts:  []string{body},
		}

		applied := false
		fault := all[which%uint(len(all))]
		wrapped := fault.Apply(h, idle(func(*http.Request, string) { applied = true }))
		target := paths[where%uint(len(paths))]
		plain, got := httptest.NewRecorder(), httptest.NewRecorder()
		h.ServeHTTP(plain, httptest.NewRequest("GET", target, nil))
		serve(t, wrapped, got, target)
		if applied {
			return
		}

		same := plain.Code == got.Code && bytes.Equal(plain.Body.Bytes(), got.Body.Bytes()) &&
			maps.EqualFunc(plain.Header(), got.Header(), slices.Equal[[]string])
		if !same {
			t.Errorf("%s at %s: %d %v %q, want %d %v %q", fault.Name, target, got.Code, got.Header(), got.Body,
				plain.Code, plain.Header(), plain.Body)
		}
	})
}

// serve calls a handler, which may abort its answer.
func serve(t *testing.T, h http.Handler, w http.ResponseWriter, target string) {
	t.Helper()
	defer func() {
		if p := recover(); p != nil && p != http.ErrAbortHandler {
			t.Errorf("a panic: %v", p)
		}
	}()
	h.ServeHTTP(w, httptest.NewRequest("GET", target, nil))
}
