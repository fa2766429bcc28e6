// Package asyncenv is the environment of tests of work in the background: a FHIR
// service with jobs over real files, which can be started again.
package asyncenv

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/access"
	"fhirdest.example/fhir/async"
	"fhirdest.example/fhir/scope"
	"fhirdest.example/server/bolt"
	"fhirdest.example/udap/trace"
)

// Base is the public base URL.
const Base = "https://fhir.test/acme/fhir"

// Env is a FHIR service with jobs over real files, which can be started again.
type Env struct {
	t      testing.TB
	Dir    string
	Limits async.Limits
	Kinds  func(*Env) map[string]async.Kind // made when the service and its store are there
	Broken func(async.Store) async.Store    // wraps the store of jobs; nil: as it is
	Change func(*fhir.Config)               // changes the service's configuration; may be nil

	Late    atomic.Int64 // added to the clock, in nanoseconds
	Gone    atomic.Bool  // the clients' registrations are cancelled
	mu      sync.Mutex   // guards traces
	traces  []*trace.Trace
	Store   *bolt.FHIR
	Service *fhir.Service
	Manager *async.Manager
	closers []func() error
	stop    func()
}

// New starts a service; change is called before.
func New(t testing.TB, change ...func(*Env)) *Env {
	t.Helper()
	e := &Env{
		t:   t,
		Dir: t.TempDir(),
	}
	for _, f := range change {
		f(e)
	}

	e.Open()
	e.Run()
	t.Cleanup(e.Close)
	return e
}

// Open opens stores and service; no job is done before Run.
func (e *Env) Open() {
	e.t.Helper()
	resources, err := bolt.OpenFHIR(filepath.Join(e.Dir, "fhir.bolt"), bolt.Options{})
	e.Must(err)
	jobs, err := bolt.OpenJobs(filepath.Join(e.Dir, "jobs.bolt"), bolt.Options{})
	e.Must(err)

	var store async.Store = jobs
	if e.Broken != nil {
		store = e.Broken(store)
	}
	files, err := async.OpenDir(filepath.Join(e.Dir, "jobs"))
	e.Must(err)
	e.Manager, err = async.New(e.t.Context(), async.Config{
		PublicBase: Base,
		Store:      store,
		Files:      files,
		Now:        e.Now,
		Live: func(context.Context, *fhir.Grant) (bool, error) {
			return !e.Gone.Load(), nil
		},
		Decided: e.decided,
		Failed:  func(err error) { e.t.Log("failed:", err) },
		Limits:  e.Limits,
	})
	e.Must(err)

	c := fhir.Config{
		PublicBase: Base,
		Store:      resources,
		Authorize:  authorize,
		Timeout:    time.Hour, // ends nothing, however busy the machine is
		Jobs:       e.Manager,
		Now:        e.Now,
		Decided:    e.decided,
	}
	if e.Change != nil {
		e.Change(&c)
	}
	e.Service, err = fhir.New(c)
	e.Must(err)

	e.Store = resources
	if e.Kinds != nil {
		e.Manager.Kinds = e.Kinds(e)
	}
	e.closers = []func() error{e.Service.Close, e.Manager.Close, jobs.Close, resources.Close}
}

// Run has the jobs done.
func (e *Env) Run() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan bool)
	go func() {
		e.Manager.Run(ctx, e.Service)
		close(ended)
	}()
	e.stop = func() {
		cancel()
		<-ended
	}
}

// Close ends everything and releases the files.
func (e *Env) Close() {
	if e.stop != nil {
		e.stop()
	}
	for _, f := range e.closers {
		e.Must(f())
	}
	e.stop, e.closers = nil, nil
}

// Reopen closes everything and opens it again on the same files, without Run.
func (e *Env) Reopen() {
	e.Close()
	e.Open()
}

// Empty waits until no files of jobs are left.
func (e *Env) Empty() {
	e.t.Helper()
	gone := e.Eventually(func() bool {
		left, err := os.ReadDir(filepath.Join(e.Dir, "jobs"))
		e.Must(err)
		return len(left) == 0
	})
	if !gone {
		e.t.Error("files of jobs are left")
	}
}

// Eventually waits until something is the case, and reports false when it is not within
// minutes.
func (e *Env) Eventually(is func() bool) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(pause) {
		if is() {
			return true
		}
	}
	return is()
}

// patience is how long a test waits for what must come, on a busy machine too, and pause
// how long before it looks again.
const (
	patience = 3 * time.Minute
	pause    = 10 * time.Millisecond
)

// Must ends the test with an error.
func (e *Env) Must(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
}

// Now is the time of the service.
func (e *Env) Now() time.Time { return time.Now().Add(time.Duration(e.Late.Load())) }

func (e *Env) decided(tr *trace.Trace) {
	e.mu.Lock()
	e.traces = append(e.traces, tr)
	e.mu.Unlock()
}

// Traced reports whether a refusal by a check has that id.
func (e *Env) Traced(id, check string) bool {
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

// authorize reads "Bearer scopes", and after semicolons: client=id, patient=id,
// subject=id, user=reference, purpose=codes with commas, org=organization_id,
// named=subject_id, community=URI, party=URI, records, registration=2.
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
		case "user":
			g.User = v
		case "purpose":
			g.Purposes = strings.Split(v, ",")
		case "org":
			g.Asserted = &access.Asserted{Organization: v}
		case "named":
			g.Asserted = &access.Asserted{SubjectID: v}
		case "records":
			g.AllRecords = true
		case "registration":
			g.Registration = 2
		case "community":
			g.Community = v
		case "everyone":
			g.AllPatients = true
		case "party":
			g.Party = v
		}
	}

	return g, nil
}

// All is a token that may do everything.
const All = "system/*.cruds"

// Do sends a request below the Base, or to a whole URL. Headers are name, value
// pairs.
func (e *Env) Do(method, url, token, body string, headers ...string) *httptest.ResponseRecorder {
	e.t.Helper()
	target := strings.TrimPrefix(url, "https://fhir.test")
	if !strings.HasPrefix(url, Base) {
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
	e.Service.ServeHTTP(w, r)
	return w
}

// Begin sends a request with Prefer: respond-async, and returns its status URL.
func (e *Env) Begin(method, path, token, body string, headers ...string) string {
	e.t.Helper()
	w := e.Do(method, path, token, body, append(headers, "Prefer", "respond-async")...)
	at := w.Header().Get("Content-Location")
	if w.Code != http.StatusAccepted || !strings.HasPrefix(at, Base+"/") {
		e.t.Fatalf("%s %s: %d %v %s", method, path, w.Code, w.Header(), w.Body)
	}
	return at
}

// Wait asks for a job's status until it has ended.
func (e *Env) Wait(at, token string) *httptest.ResponseRecorder {
	e.t.Helper()
	var w *httptest.ResponseRecorder
	ended := e.Eventually(func() bool {
		w = e.Do("GET", at, token, "")
		if w.Code != http.StatusAccepted {
			return true
		}
		if w.Header().Get("X-Progress") == "" || w.Header().Get("Retry-After") == "" {
			e.t.Fatalf("under way, without progress or pace: %v", w.Header())
		}
		return false
	})
	if !ended {
		e.t.Fatal("the job does not end")
	}
	return w
}

// Result is the one entry of a batch-response.
type Result struct {
	Resource jsontext.Value `json:"resource"`
	Response struct {
		Status   string         `json:"status"`
		Location string         `json:"location"`
		Etag     string         `json:"etag"`
		Outcome  jsontext.Value `json:"outcome"`
	} `json:"response"`
}

// Result waits for a job and reads its batch-response.
func (e *Env) Result(at, token string) Result {
	e.t.Helper()
	w := e.Wait(at, token)
	var b struct {
		ResourceType, Type string
		Entry              []Result `json:"entry"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &b, json.MatchCaseInsensitiveNames(true)); err != nil ||
		w.Code != http.StatusOK || b.Type != "batch-response" || len(b.Entry) != 1 {
		e.t.Fatalf("%v: %d %s", err, w.Code, w.Body)
	}

	if expires, err := http.ParseTime(w.Header().Get("Expires")); err != nil || !expires.After(e.Now()) {
		e.t.Errorf("Expires: %v", w.Header())
	}
	return b.Entry[0]
}
