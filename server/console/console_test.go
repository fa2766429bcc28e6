package console

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/server/audit"
	"fhirdest.example/udap/trace"
)

const hostile = `<script>alert(1)</script>"'><img src=x onerror=alert(2)>=HYPERLINK("x")`

// env is a console with one hostile refusal in it.
type env struct {
	handler   http.Handler
	trace     *trace.Trace
	refreshed int
	state     Readiness
}

func newEnv(open bool) *env {
	b := &env{state: Readiness{
		Ready:       true,
		PublicBase:  "https://h/fhir",
		Communities: []Community{{URI: "urn:a", Name: hostile, Withheld: "its certificate ran out"}},
		Lists:       []List{{Place: "http://l/a.crl", Number: "7", Usable: true}},
		Warnings:    []string{"tls: key is readable"},
		Clients:     []Certificate{{Of: hostile, Subject: "CN=c", DaysLeft: 3, Names: []string{hostile}}},
	}}

	log := audit.New(audit.Config{Keep: 10})
	b.trace = trace.NewTrace("register", time.Unix(1e9, 0))
	b.trace.Client = hostile
	_ = b.trace.Refuse(trace.Check{Name: "statement.aud", Title: "aud"}, trace.InvalidSoftwareStatement, trace.Finding{
		Expected: "x",
		Found:    hostile,
		Remedy:   hostile,
	})

	log.Record(b.trace)
	b.handler = New(Config{
		Decisions: log,
		Ready: func() Readiness {
			return b.state
		},
		Refresh: func(context.Context) { b.refreshed++ },
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "metric 1\n") }),
		Hosts:   []string{"console.test"},
		Open:    open,
	})

	return b
}

func (b *env) do(method, target string, header ...string) *http.Response {
	r := httptest.NewRequest(method, "http://127.0.0.1:9480"+target, nil)
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
			continue
		}
		r.Header.Add(header[i], header[i+1])
	}

	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Covers: case 277
func TestHostAllowList(t *testing.T) {
	b := newEnv(true)
	for host, want := range map[string]int{
		"127.0.0.1:9480": 200, "localhost:9480": 200, "LOCALHOST": 200, "[::1]:9480": 200, "console.test": 200, "127.8.8.8": 200,
		"evil.example": 421, "evil.example:9480": 421, "localhost.evil.example": 421, "10.0.0.1": 421, "": 421, "127.0.0.1.evil.example": 421,
	} {
		t.Run(host, func(t *testing.T) {
			for _, path := range []string{"/", "/traces", "/ready", "/health", "/metrics", "/none"} {
				want := want
				if path == "/none" && want == 200 {
					want = 404
				}
				if got := b.do("GET", path, "Host", host).StatusCode; got != want {
					t.Errorf("Host %q, %s: %d, want %d", host, path, got, want)
				}
			}
		})
	}
}

// Covers: case 286
func TestHeadersOnEveryAnswer(t *testing.T) {
	b := newEnv(true)
	for _, res := range []*http.Response{
		b.do("GET", "/"), b.do("GET", "/none"), b.do("PUT", "/traces"), b.do("GET", "/", "Host", "evil.example"),
		b.do("GET", "/style.css"), b.do("POST", "/refresh"), b.do("POST", "/refresh", "Origin",
			"http://127.0.0.1:9480"),
		b.do("GET", "/traces/none"), newEnv(false).do("GET", "/traces"), b.do("GET", "/metrics"),
	} {
		csp := res.Header.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !strings.Contains(csp, part) {
				t.Errorf("%d: CSP %q lacks %s", res.StatusCode, csp, part)
			}
		}

		if strings.Contains(csp, "unsafe") || res.Header.Get("X-Content-Type-Options") != "nosniff" ||
			res.Header.Get("Referrer-Policy") != "no-referrer" || res.Header.Get("Cache-Control") != "no-store" ||
			res.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%d: headers %v", res.StatusCode, res.Header)
		}
	}

	if res := b.do("POST", "/traces"); res.StatusCode != 405 || res.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("405 with Allow: %d %q", res.StatusCode, res.Header.Get("Allow"))
	}
	if res := b.do("GET", "/refresh"); res.StatusCode != 405 || res.Header.Get("Allow") != "POST" {
		t.Errorf("405 with Allow: %d %q", res.StatusCode, res.Header.Get("Allow"))
	}
	if res := b.do("HEAD", "/ready"); res.StatusCode != 200 || body(t, res) != "" {
		t.Errorf("HEAD: %d with a body", res.StatusCode)
	}
}

// Covers: case 273
func TestStateChangesNeedSameOriginProof(t *testing.T) {
	for _, c := range []struct {
		name   string
		header []string
		want   int
	}{
		{"own origin", []string{"Origin", "http://127.0.0.1:9480"}, 303},
		{"browser under no-referrer", []string{"Origin", "null", "Sec-Fetch-Site", "same-origin"}, 303},
		{"no origin", nil, 403},
		{"null", []string{"Origin", "null"}, 403},
		{"other site", []string{"Origin", "https://evil.example"}, 403},
		{"other port", []string{"Origin", "http://127.0.0.1:1"}, 403},
		{"user part", []string{"Origin", "http://x@127.0.0.1:9480"}, 403},
		{"https", []string{"Origin", "https://127.0.0.1:9480"}, 403},
		{"two origins", []string{"Origin", "http://127.0.0.1:9480", "Origin", "https://evil.example"}, 403},
		{"cross-site by browser", []string{"Origin", "http://127.0.0.1:9480", "Sec-Fetch-Site", "cross-site"}, 403},
		{"other site claims same", []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "same-origin"}, 403},
		{"text/plain form", []string{"Content-Type", "text/plain", "Origin", "https://evil.example"}, 403},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newEnv(true)
			got := b.do("POST", "/refresh", c.header...).StatusCode
			if got != c.want || (b.refreshed == 1) != (c.want == 303) {
				t.Errorf("%s: %d with %d refreshes, want %d", c.name, got, b.refreshed, c.want)
			}
		})
	}
}

// What clients sent is text on every page, and never markup or script.
//
// Covers: case 274
func TestNothingThatClientsSentBecomesMarkup(t *testing.T) {
	b := newEnv(true)
	for _, path := range []string{"/", "/traces", "/traces/" + b.trace.ID, "/ready"} {
		res := b.do("GET", path, "Accept", "text/html,application/xhtml+xml")
		page := body(t, res)
		if res.StatusCode != 200 || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") {
			t.Fatalf("%s: %d %s", path, res.StatusCode, res.Header.Get("Content-Type"))
		}
		if strings.Contains(page, "<script") || strings.Contains(page, "<img") || strings.Contains(page, " style=") ||
			!strings.Contains(page, "&lt;script&gt;") {
			t.Errorf("%s: markup from a client:\n%s", path, page)
		}

		plain := b.do("GET", path, "Accept", "application/json")
		if text := body(t, plain); path != "/" && strings.Contains(text, "<script") {
			t.Errorf("%s as JSON has unescaped markup", path)
		}
	}
}

func TestTracesAsJSON(t *testing.T) {
	b := newEnv(true)
	for path, want := range map[string]int{
		"/traces": 1, "/traces?action=register": 1, "/traces?action=token": 0, "/traces?code=invalid_software_statement": 1,
		"/traces?client=other": 0, "/traces?stored=1": 0, "/traces?n=junk": 1,
	} {
		t.Run(path, func(t *testing.T) {
			var list []audit.Decision
			res := b.do("GET", path)
			if err := json.UnmarshalRead(res.Body, &list); err != nil || len(list) != want ||
				res.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%s: %d decisions, %v", path, len(list), err)
			}
		})
	}

	var d audit.Decision
	if err := json.UnmarshalRead(b.do("GET", "/traces/"+b.trace.ID).Body, &d); err != nil ||
		d.Trace.Steps[0].Check != "statement.aud" {
		t.Errorf("one trace: %+v, %v", d, err)
	}
	if got := b.do("GET", "/traces/none").StatusCode; got != 404 {
		t.Errorf("unknown trace: %d", got)
	}
}

func TestReady(t *testing.T) {
	b := newEnv(true)
	if got := body(t, b.do("GET", "/ready")); !strings.Contains(got, `"withheld": "its certificate ran out"`) ||
		!strings.Contains(got, `"number": "7"`) {
		t.Errorf("ready: %s", got)
	}
	b.state.Ready = false
	if got := b.do("GET", "/ready").StatusCode; got != 503 {
		t.Errorf("not ready: %d", got)
	}
}

// The sheet to hand out has the base URL and, for each community, the anchors'
// fingerprints and the names in our certificates, on lines of their own.
//
// Covers: D-49
func TestSheet(t *testing.T) {
	b := newEnv(true)
	b.state.Issuer = "https://h/oauth"
	m := &b.state.Communities[0]
	m.Name, m.Withheld, m.Profile = "Nasty\nFHIR base  https://evil.example", "", "ssraa-2"
	m.Anchors = []Certificate{{Subject: "CN=root", Serial: "1F", Fingerprint: "00ab7f"}}
	m.Certificates = []Certificate{
		{
			Subject:     "CN=us",
			Key:         "RSA 2048",
			Names:       []string{"https://h/fhir", "https://h/other"},
			Fingerprint: "01",
			Expires:     time.Unix(1e9, 0),
		},
	}

	res := b.do("GET", "/sheet")
	want := `FHIR base       https://h/fhir
Discovery       https://h/fhir/.well-known/udap
Issuer          https://h/oauth

Community       urn:a
Name            Nasty\uFFFDFHIR base  https://evil.example
Profile         ssraa-2
Anchor          CN=root
  serial        1F
  SHA-256       00:AB:7F
Our certificate CN=us
  key           RSA 2048
  SAN URIs      https://h/fhir https://h/other
  SHA-256       01
  expires       2001-09-09
`
	want = strings.ReplaceAll(want, `\uFFFD`, "\uFFFD")

	if got := body(t, res); got != want || res.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("%s\n%s", res.Header.Get("Content-Type"), got)
	}
	browser := []string{"Accept", "text/html,*/*;q=0.8"}
	if got := body(t, b.do("GET", "/sheet?text=1", browser...)); got != want {
		t.Errorf("the text for a browser is\n%s", got)
	}

	page := b.do("GET", "/sheet", browser...)
	if page.Header.Get("Content-Type") != "text/html; charset=utf-8" || page.Header.Get("Vary") != "Accept" {
		t.Errorf("the page has %v", page.Header)
	}
	shown := body(t, page)
	for _, want := range []string{
		"https://h/fhir/.well-known/udap",
		"00:AB:7F",
		"https://h/other",
		"Nasty\uFFFDFHIR base",
		"9 September 2001",
	} {
		if !strings.Contains(shown, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

// Covers: case 272, case 327
func TestClosedConsole(t *testing.T) {
	b := newEnv(false)
	for path, want := range map[string]int{
		"/":                     403,
		"/traces":               403,
		"/traces/" + b.trace.ID: 403,
		"/metrics":              403,
		"/sheet":                403,
		"/style.css":            403,
		"/none":                 403,
		"/debug/pprof/":         403,
		"/health":               200,
		"/ready":                200,
	} {
		t.Run(path, func(t *testing.T) {
			if got := b.do("GET", path).StatusCode; got != want {
				t.Errorf("%s: %d, want %d", path, got, want)
			}
		})
	}

	if got := body(t, b.do("GET", "/ready")); strings.Contains(got, "communities") {
		t.Errorf("closed, /ready tells details: %s", got)
	}
	if got := newEnv(true).do("GET", "/debug/pprof/").StatusCode; got != 404 {
		t.Errorf("an open console has /debug/pprof: %d", got)
	}
}
