package async_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/async"
	"fhirdest.example/fhir/scope"
	"fhirdest.example/server/bolt"
	"fhirdest.example/udap/trace"
)

const base = "https://fhir.test/acme/fhir"

// env is a FHIR service with jobs over real files, which can be started again.
type env struct {
	t      testing.TB
	dir    string
	limits async.Limits
	kinds  map[string]async.Kind
	broken func(async.Store) async.Store // wraps the store of jobs; nil: as it is

	late    atomic.Int64 // added to the clock, in nanoseconds
	gone    atomic.Bool  // the clients' registrations are cancelled
	mu      sync.Mutex   // guards traces
	traces  []*trace.Trace
	service *fhir.Service
	manager *async.Manager
	closers []func() error
	stop    func()
}

// newEnv starts a service; change is called before.
func newEnv(t testing.TB, change ...func(*env)) *env {
	t.Helper()
	e := &env{
		t:   t,
		dir: t.TempDir(),
	}
	for _, f := range change {
		f(e)
	}

	e.open()
	e.run()
	t.Cleanup(e.close)
	return e
}

// open opens stores and service; no job is done before run.
func (e *env) open() {
	e.t.Helper()
	resources, err := bolt.OpenFHIR(filepath.Join(e.dir, "fhir.bolt"), bolt.Options{})
	e.must(err)
	jobs, err := bolt.OpenJobs(filepath.Join(e.dir, "jobs.bolt"), bolt.Options{})
	e.must(err)

	var store async.Store = jobs
	if e.broken != nil {
		store = e.broken(store)
	}
	e.manager, err = async.New(e.t.Context(), async.Config{
		PublicBase: base,
		Dir:        filepath.Join(e.dir, "jobs"),
		Store:      store,
		Now:        e.now,
		Kinds:      e.kinds,
		Live: func(context.Context, *fhir.Grant) (bool, error) {
			return !e.gone.Load(), nil
		},
		Decided: e.decided,
		Failed:  func(err error) { e.t.Log("failed:", err) },
		Limits:  e.limits,
	})
	e.must(err)

	e.service, err = fhir.New(fhir.Config{
		PublicBase: base,
		Store:      resources,
		Authorize:  authorize,
		Jobs:       e.manager,
		Now:        e.now,
		Decided:    e.decided,
	})
	e.must(err)

	e.closers = []func() error{e.service.Close, e.manager.Close, jobs.Close, resources.Close}
}

func (e *env) run() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan bool)
	go func() {
		e.manager.Run(ctx, e.service)
		close(ended)
	}()
	e.stop = func() {
		cancel()
		<-ended
	}
}

func (e *env) close() {
	if e.stop != nil {
		e.stop()
	}
	for _, f := range e.closers {
		e.must(f())
	}
	e.stop, e.closers = nil, nil
}

func (e *env) must(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
}

func (e *env) now() time.Time { return time.Now().Add(time.Duration(e.late.Load())) }

func (e *env) decided(tr *trace.Trace) {
	e.mu.Lock()
	e.traces = append(e.traces, tr)
	e.mu.Unlock()
}

// traced reports whether a refusal by a check has that id.
func (e *env) traced(id, check string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, tr := range e.traces {
		if tr.ID == id {
			for _, s := range tr.Steps {
				if s.Check == check && s.Verdict == trace.Refused {
					return true
				}
			}
		}
	}

	return false
}

// authorize reads "Bearer scopes[; client=id][; patient=id][; subject=id][; registration=2]".
func authorize(r *http.Request) (*fhir.Grant, *fhir.Denial) {
	text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return nil, &fhir.Denial{
			Status: 401,
			Code:   "login",
			Text:   "No token.",
		}
	}

	parts := strings.Split(text, "; ")
	g := &fhir.Grant{
		Client:       "c1",
		TokenID:      "t1",
		Registration: 1,
		Expires:      time.Now().Add(time.Hour),
	}
	g.Scopes, _ = scope.ParseSet(strings.Fields(parts[0]))

	for _, p := range parts[1:] {
		switch k, v, _ := strings.Cut(p, "="); k {
		case "patient":
			g.Patient = v
		case "client":
			g.Client = v
		case "subject":
			g.Subject = v
		case "registration":
			g.Registration = 2
		}
	}

	return g, nil
}

const all = "system/*.cruds"

// do sends a request below the base, or to a whole URL. Headers are name, value
// pairs.
func (e *env) do(method, url, token, body string, headers ...string) *httptest.ResponseRecorder {
	e.t.Helper()
	target := strings.TrimPrefix(url, "https://fhir.test")
	if !strings.HasPrefix(url, base) {
		target = "/acme/fhir" + url
	}
	r := httptest.NewRequest(method, "/x", strings.NewReader(body))
	r.RequestURI = target
	r.Header.Set("Authorization", "Bearer "+token)

	if body != "" {
		r.Header.Set("Content-Type", "application/fhir+json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}

	w := httptest.NewRecorder()
	e.service.ServeHTTP(w, r)
	return w
}

// begin sends a request with Prefer: respond-async, and returns its status URL.
func (e *env) begin(method, path, token, body string, headers ...string) string {
	e.t.Helper()
	w := e.do(method, path, token, body, append(headers, "Prefer", "respond-async")...)
	at := w.Header().Get("Content-Location")
	if w.Code != http.StatusAccepted || !strings.HasPrefix(at, base+"/") {
		e.t.Fatalf("%s %s: %d %v %s", method, path, w.Code, w.Header(), w.Body)
	}
	return at
}

// wait asks for a job's status until it has ended.
func (e *env) wait(at, token string) *httptest.ResponseRecorder {
	e.t.Helper()
	for range 6000 {
		w := e.do("GET", at, token, "")
		if w.Code != http.StatusAccepted {
			return w
		}

		if w.Header().Get("X-Progress") == "" || w.Header().Get("Retry-After") == "" {
			e.t.Fatalf("under way, without progress or pace: %v", w.Header())
		}
		time.Sleep(10 * time.Millisecond)
	}

	e.t.Fatal("the job does not end")
	return nil
}

// result is the one entry of a batch-response.
type result struct {
	Resource jsontext.Value `json:"resource"`
	Response struct {
		Status   string         `json:"status"`
		Location string         `json:"location"`
		Etag     string         `json:"etag"`
		Outcome  jsontext.Value `json:"outcome"`
	} `json:"response"`
}

// result waits for a job and reads its batch-response.
func (e *env) result(at, token string) result {
	e.t.Helper()
	w := e.wait(at, token)
	var b struct {
		ResourceType, Type string
		Entry              []result `json:"entry"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &b, json.MatchCaseInsensitiveNames(true)); err != nil ||
		w.Code != http.StatusOK || b.Type != "batch-response" || len(b.Entry) != 1 {
		e.t.Fatalf("%v: %d %s", err, w.Code, w.Body)
	}

	if expires, err := http.ParseTime(w.Header().Get("Expires")); err != nil || !expires.After(e.now()) {
		e.t.Errorf("Expires: %v", w.Header())
	}
	return b.Entry[0]
}
