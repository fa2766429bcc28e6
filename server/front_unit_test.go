package server

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/server/audit"
	"fhirdest.example/server/oauth"
	"fhirdest.example/udap/trace"
)

// newFront is a front before a handler of the test's own.
func newFront(h http.HandlerFunc) (*front, *bytes.Buffer) {
	var log bytes.Buffer
	return &front{
		await:  func(context.Context) {},
		public: authorities{"h"},
		toPub:  h,
		fhir:   []string{"/fhir"},
		pools:  newPools(Limits{Requests: 1, TokenRequests: 1}),
		room:   newRoom(100),
		limits: Limits{Body: 100, Rate: 1},
		times:  Timeouts{}.withDefaults(),
		log:    slog.New(slog.NewTextHandler(&log, nil)),
		meter:  newMeter(),
		record: func(*trace.Trace) {},
		now:    time.Now,
	}, &log
}

func ask(f http.Handler, target string) (res *http.Response, body string, aborted bool) {
	w := httptest.NewRecorder()
	func() {
		defer func() { aborted = recover() == http.ErrAbortHandler }()
		f.ServeHTTP(w, httptest.NewRequest("GET", "https://h"+target, nil))
	}()
	return w.Result(), w.Body.String(), aborted
}

// A panic is answered with a 500 in the caller's language, logged without what
// the client sent, and counted; once the answer has begun, the connection is
// cut instead, so that no half answer looks whole.
//
// Covers: FS-105
func TestPanics(t *testing.T) {
	secret := "secret-token"
	for target, want := range map[string]string{
		"/fhir/Patient": "OperationOutcome",
		"/oauth/token":  `"error":"server_error"`,
	} {
		f, log := newFront(func(http.ResponseWriter, *http.Request) { panic("failed on " + secret) })
		res, body, aborted := ask(f, target)
		if aborted || res.StatusCode != 500 || !strings.Contains(body, want) ||
			strings.Contains(body+log.String(), secret) {
			t.Errorf("%s: %d %s\n%s", target, res.StatusCode, body, log)
		}
		if !strings.Contains(log.String(), "panic") || !strings.Contains(log.String(), "TestPanics") {
			t.Errorf("the log has no panic with its stack: %s", log)
		}

		if got := metric(t, f, "destination_panics_total"); got != "1" {
			t.Errorf("panics counted: %q", got)
		}
	}

	f, _ := newFront(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "begun")
		panic("halfway")
	})
	if _, _, aborted := ask(f, "/fhir"); !aborted {
		t.Error("a panic in the middle of an answer does not cut the connection")
	}
}

func metric(t *testing.T, f *front, name string) string {
	t.Helper()
	families, err := f.meter.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}

	for _, m := range families {
		if m.GetName() == name {
			return fmt.Sprint(m.GetMetric()[0].GetCounter().GetValue())
		}
	}

	return ""
}

// Covers: case 268
func TestOverload(t *testing.T) {
	inside, release := make(chan struct{}), make(chan struct{})
	f, _ := newFront(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/fhir/a" {
			close(inside)
			<-release
		}
	})
	f.pools.fhir.wait = 0

	done := make(chan struct{})
	go func() { ask(f, "/fhir/a"); close(done) }()
	<-inside
	res, body, _ := ask(f, "/fhir/b")
	if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" || !strings.Contains(body, "OperationOutcome") {
		t.Errorf("beyond the number: %d %v %s", res.StatusCode, res.Header, body)
	}

	if res, body, _ = ask(f, "/oauth/token"); res.StatusCode != 200 {
		t.Errorf("the authorization server beside a busy FHIR service: %d %s", res.StatusCode, body)
	}

	close(release)
	<-done
	f.toPub = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) })
	if res, _, _ := ask(f, "/fhir/c"); res.StatusCode != 204 {
		t.Errorf("the place is not given back: %d", res.StatusCode)
	}
}

// Long bodies that arrive at once have a bounded place in memory, of which one client
// has half, and so have all that are not known; short ones always arrive, and the
// place is free again after each answer.
//
// Covers: case 268
func TestLongBodiesHaveBoundedRoom(t *testing.T) {
	const limit = roomSteps * leastStep
	f, _ := newFront(func(w http.ResponseWriter, r *http.Request) {
		r.Context().Value(answerKey{}).(*answer).turn.client = r.Header.Get("Client")
		if _, err := io.ReadAll(r.Body); err == nil {
			w.WriteHeader(http.StatusNoContent)
		}
	})
	f.limits.Body, f.room = limit, newRoom(limit)
	f.pools = newPools(Limits{Requests: 100, TokenRequests: 1, RequestsPerAddress: 100, RequestsPerClient: 100})

	post := func(client string, body io.Reader) *http.Response {
		r := httptest.NewRequest("POST", "https://h/fhir/Patient", body)
		r.Header.Set("Client", client)
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		return w.Result()
	}
	long := func() io.Reader { return strings.NewReader(strings.Repeat("x", limit)) }

	release := make(chan struct{})
	done := make(chan int, roomBodies)
	hold := func(client string, n int) {
		t.Helper()
		for range n {
			arrived := make(chan struct{})
			go func() { done <- post(client, io.MultiReader(long(), &held{arrived, release})).StatusCode }()

			select {
			case <-arrived:
			case status := <-done:
				t.Fatalf("a long body of %q within the room: %d", client, status)
			}
		}
	}
	refused := func(client string) {
		t.Helper()
		if res := post(client, long()); res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
			t.Errorf("a long body of %s beyond the room: %d %v", client, res.StatusCode, res.Header)
		}
	}

	var once sync.Once
	free := func() { once.Do(func() { close(release) }) }
	defer free()

	hold("", roomBodies/2)
	refused("")
	hold("a", roomBodies/2)
	refused("a")
	refused("c")
	if res := post("c", strings.NewReader(strings.Repeat("x", limit/roomSteps))); res.StatusCode != 204 {
		t.Errorf("a short body beside long ones: %d", res.StatusCode)
	}

	free()
	for range roomBodies {
		if status := <-done; status != 204 {
			t.Errorf("a long body that had room: %d", status)
		}
	}
	if res := post("a", long()); res.StatusCode != 204 || f.room.used != 0 || len(f.room.clients) != 0 {
		t.Errorf("afterwards: %d, %d bytes of %v", res.StatusCode, f.room.used, f.room.clients)
	}
}

// held is the end of a body that comes when it is released.
type held struct {
	arrived chan<- struct{}
	release <-chan struct{}
}

func (h *held) Read([]byte) (int, error) {
	close(h.arrived)
	<-h.release
	return 0, io.EOF
}

// Forwarding fields that name another host are counted, and the log keeps them
// on one line.
//
// Covers: case 279, case 302
func TestForwardedMismatchIsNoted(t *testing.T) {
	f, _ := newFront(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) })
	for _, host := range []string{"H", "evil\x1b[31m"} {
		r := httptest.NewRequest("GET", "https://h/fhir", nil)
		r.Header.Set("X-Forwarded-Host", host)
		f.ServeHTTP(httptest.NewRecorder(), r)
	}
	if got := metric(t, f, "destination_forwarded_mismatch_total"); got != "1" {
		t.Errorf("counted %q, want 1", got)
	}
}

// Every status that the server answers itself has codes.
func TestEveryOwnStatusHasCodes(t *testing.T) {
	for _, status := range []int{400, 404, 405, 413, 415, 417, 421, 429, 431, 500, 503, 505} {
		if c := codes[status]; c.oauth == "" || c.issue == "" {
			t.Errorf("%d has no codes", status)
		}
	}
}

func TestPrivatePaths(t *testing.T) {
	for _, c := range []struct{ public, private, path, want string }{
		{"https://h/acme/fhir", "https://p:1/acme/fhir", "/acme/oauth/token", "/acme/oauth/token"},
		{"https://h/acme/fhir", "https://p:1/x/y/fhir", "/acme/oauth/token", "/x/y/oauth/token"},
		{"https://h/acme/fhir", "https://p:1/x/fhir", "/acme/fhir/.well-known/udap", "/x/fhir/.well-known/udap"},
		{
			"https://h/acme/fhir",
			"https://p:1/x/fhir",
			"/.well-known/oauth-authorization-server/acme/oauth",
			"/.well-known/oauth-authorization-server/x/oauth",
		},
		{"https://h/fhir", "https://p:1/x/fhir", "/oauth/token", "/x/oauth/token"},
		{"https://h/acme/fhir", "https://p:1/fhir", "/acme/oauth/token", "/oauth/token"},
	} {
		t.Run(c.public, func(t *testing.T) {
			cfg := Config{Public: c.public, Private: c.private}
			if got := cfg.privatePath(c.path); got != c.want {
				t.Errorf("%s under %s, private %s: %s, want %s", c.path, c.public, c.private, got, c.want)
			}
		})
	}
}

func TestAuthoritySpellings(t *testing.T) {
	for base, want := range map[string][]string{
		"https://h/x": {"h", "h:443", "H"}, "https://h:443/x": {"h", "h:443"}, "https://h:8443/x": {"h:8443"}, "https://[::1]/x": {"[::1]", "[::1]:443"}, "https://[::1]:8/x": {"[::1]:8"},
	} {
		t.Run(base, func(t *testing.T) {
			a := authoritiesOf(base)
			for _, host := range want {
				if !a.has(host) {
					t.Errorf("%s lacks %s", base, host)
				}
			}

			if a.has("") || a.has("h:80") || a.has("other") {
				t.Errorf("%s has %v", base, a)
			}
		})
	}
}

// Package audit knows udap's checks by their names; these must be
// there.
func TestAuditKnowsUDAPsChecks(t *testing.T) {
	names := map[string]bool{}
	for _, c := range trace.Checks() {
		names[c.Name] = true
	}
	tr := &trace.Trace{}

	for _, name := range []string{"jws.signature", "chain.path"} {
		if !names[name] {
			t.Errorf("udap has no check %q", name)
		}
		tr.Pass(trace.Check{Name: name}, "", "")
	}

	if !audit.Authenticated(tr) {
		t.Error("both proofs do not authenticate")
	}
}

// A look-up that failed is the server's fault and makes no claim about the
// token; what is wrong with a token is explained where clients may know.
func TestDenials(t *testing.T) {
	bad := &oauth.Refusal{
		Of:     &trace.Error{Code: trace.InvalidToken, Check: "bearer.token", Detail: "why"},
		Status: 401,
		Header: http.Header{"Www-Authenticate": {"Bearer x"}},
		Trace:  "t1",
	}

	down := &oauth.Refusal{
		Of: &trace.Error{
			Code:   trace.TemporarilyUnavailable,
			Check:  "server.store",
			Detail: "why",
			Err:    io.ErrUnexpectedEOF,
		},
		Status: 503,
		Trace:  "t2",
	}
	for _, c := range []struct {
		name, explain string
		err           error
		want          fhir.Denial
	}{
		{
			"bad token",
			"",
			bad,
			fhir.Denial{
				Status: 401,
				Header: http.Header{"Www-Authenticate": {"Bearer x"}},
				Trace:  "t1",
				Code:   "login",
				Text: "A valid access token is needed, in one Authorization header of the scheme Bearer, " +
					"or DPoP with a proof.",
			},
		},
		{
			"bad token, told",
			"client",
			bad,
			fhir.Denial{
				Status: 401,
				Header: http.Header{"Www-Authenticate": {"Bearer x"}},
				Trace:  "t1",
				Code:   "login",
				Text:   "bearer.token: why.",
			},
		},
		{
			"no look-up",
			"client",
			down,
			fhir.Denial{
				Status: 503,
				Trace:  "t2",
				Code:   "transient",
				Text:   "The token could not be looked up; try again later.",
			},
		},
		{
			"a fault of ours",
			"client",
			io.ErrUnexpectedEOF,
			fhir.Denial{
				Status: 503,
				Header: http.Header{},
				Code:   "transient",
				Text:   "The token could not be looked up; try again later.",
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log bytes.Buffer
			s := &Site{cfg: Config{Explain: c.explain}, deps: SiteDeps{Log: slog.New(slog.NewTextHandler(&log, nil))}}
			if got := s.denial(c.err); !reflect.DeepEqual(*got, c.want) {
				t.Errorf("%s: %+v, want %+v", c.name, *got, c.want)
			}
			if logged := strings.Contains(log.String(), io.ErrUnexpectedEOF.Error()); logged != (c.want.Status == 503) {
				t.Errorf("%s: log %q", c.name, log.String())
			}
		})
	}
}
