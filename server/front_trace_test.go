package server

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"fhirdest.example/udap/trace"
)

// What the front itself refuses leaves a trace, like every other refusal, and
// the answer names it; what it lets through leaves none of its own.
func TestFrontLeavesTraces(t *testing.T) {
	for _, c := range []struct {
		name, method, host, target, encoding, body string
		status                                     int
	}{
		{"another host", "GET", "evil", "/fhir/x", "", "", http.StatusMisdirectedRequest},
		{"a method of no resource", "BREW", "evil", "/oauth/token", "", "", http.StatusMethodNotAllowed},
		{"an encoded body", "POST", "h", "/oauth/token", "gzip", "x", http.StatusUnsupportedMediaType},
		{"a long body", "POST", "h", "/oauth/token", "", strings.Repeat("x", 101), http.StatusRequestEntityTooLarge},
		{"a request of ours", "GET", "h", "/oauth/token", "", "", http.StatusOK},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, _ := newFront(func(http.ResponseWriter, *http.Request) {})
			var traces []*trace.Trace
			f.record = func(tr *trace.Trace) { traces = append(traces, tr) }
			r := httptest.NewRequest(c.method, "https://"+c.host+c.target, strings.NewReader(c.body))
			if c.encoding != "" {
				r.Header.Set("Content-Encoding", c.encoding)
			}
			w := httptest.NewRecorder()
			f.ServeHTTP(w, r)

			if w.Code != c.status {
				t.Fatalf("status %d, want %d", w.Code, c.status)
			}
			if c.status == http.StatusOK {
				if len(traces) != 0 || w.Header().Get("Trace-Id") != "" {
					t.Fatalf("a request that passed left %d traces", len(traces))
				}
				return
			}

			if len(traces) != 1 || traces[0].ID != w.Header().Get("Trace-Id") || traces[0].Code == "" {
				t.Fatalf("traces %+v, the answer names %q", traces, w.Header().Get("Trace-Id"))
			}
		})
	}
}
