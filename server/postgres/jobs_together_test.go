package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/async"
	"fhirdest.example/fhir/export"
	"fhirdest.example/fhir/load"
	"fhirdest.example/fhir/scope"
	"fhirdest.example/server/postgres"
	"fhirdest.example/server/postgres/postgrestest"
	"fhirdest.example/udap/trace"
)

const jobsBase = "https://fhir.test/acme/fhir"

// worker is one of several destinations on a database, with its FHIR service and its
// work in the background.
type worker struct {
	t       *testing.T
	service *fhir.Service
	close   func()

	deaf   atomic.Bool // it is cut off: it renews no lease
	gate   atomic.Bool // its next change of resources waits
	at     chan bool
	resume chan bool
	late   chan error // how that change ended
}

// cutOff is the store of jobs of a worker.
type cutOff struct {
	async.Store
	w *worker
}

func (s cutOff) Renew(ctx context.Context, a async.Attempt, lease time.Duration, progress string) error {
	if s.w.deaf.Load() {
		return errors.New("cut off")
	}
	return s.Store.Renew(ctx, a, lease, progress)
}

// gated is the store of resources of a worker. What jobs change has a deadline, and what
// the service stores later, such as audit records, has none.
type gated struct {
	fhir.Store
	w *worker
}

func (s gated) Update(ctx context.Context, f func(fhir.Change) error) error {
	if _, works := ctx.Deadline(); works && s.w.gate.CompareAndSwap(true, false) {
		s.w.at <- true
		<-s.w.resume
		err := s.Store.Update(ctx, f)
		s.w.late <- err
		return err
	}
	return s.Store.Update(ctx, f)
}

// startWorker starts a destination on a database; kinds is nil for exports and imports.
func startWorker(t *testing.T, url, name string, kinds map[string]async.Kind) *worker {
	t.Helper()
	w := &worker{
		t:      t,
		at:     make(chan bool, 1),
		resume: make(chan bool, 1),
		late:   make(chan error, 1),
	}
	c := postgres.Config{
		URL:  url,
		Name: name,
	}
	resources, err := postgres.OpenFHIR(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	jobs, err := postgres.OpenJobs(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}

	store := gated{resources, w}
	m, err := async.New(t.Context(), async.Config{
		PublicBase: jobsBase,
		Store:      cutOff{jobs, w},
		Files:      jobs.Files(),
		Now:        time.Now,
		Live:       func(context.Context, *fhir.Grant) (bool, error) { return true, nil },
		Decided:    func(*trace.Trace) {},
		Failed:     func(err error) { t.Log(name, "failed:", err) },
		Limits:     async.Limits{Lease: time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.service, err = fhir.New(fhir.Config{
		PublicBase: jobsBase,
		Store:      store,
		Authorize:  jobsGrant,
		Jobs:       m,
		Now:        time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}

	m.Kinds = kinds
	if kinds == nil {
		m.Kinds = map[string]async.Kind{
			"$export": export.New(export.Config{
				PublicBase: jobsBase,
				Store:      store,
				Service:    w.service,
			}),
			"$import": &load.Import{
				PublicBase: jobsBase,
				Service:    w.service,
			},
		}
	}

	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan bool)
	go func() {
		m.Run(ctx, w.service)
		close(ended)
	}()
	var closed atomic.Bool
	w.close = func() {
		if closed.Swap(true) {
			return
		}
		stop()
		<-ended
		err := errors.Join(w.service.Close(), m.Close(), jobs.Close(), resources.Close())
		if err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(w.close)
	return w
}

// jobsGrant accepts everybody as the one client.
func jobsGrant(*http.Request) (*fhir.Grant, *fhir.Denial) {
	set, _ := scope.ParseSet([]string{"system/*.cruds"})
	return &fhir.Grant{
		Client:       "c1",
		TokenID:      "t1",
		Registration: 1,
		Expires:      time.Now().Add(time.Hour),
		Scopes:       set,
	}, nil
}

// do sends a request to this destination.
func (w *worker) do(method, url, body string, headers ...string) *httptest.ResponseRecorder {
	w.t.Helper()
	r := httptest.NewRequest(method, "/x", strings.NewReader(body))
	r.RequestURI = "/acme/fhir" + strings.TrimPrefix(url, jobsBase)
	r.Header.Set("Authorization", "Bearer x")
	if body != "" {
		r.Header.Set("Content-Type", "application/fhir+json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}

	answer := httptest.NewRecorder()
	w.service.ServeHTTP(answer, r)
	return answer
}

// begin begins a job, and returns its status URL.
func (w *worker) begin(method, url, body string, headers ...string) string {
	w.t.Helper()
	answer := w.do(method, url, body, append(headers, "Prefer", "respond-async")...)
	if answer.Code != http.StatusAccepted {
		w.t.Fatalf("%s %s: %d %s", method, url, answer.Code, answer.Body)
	}
	return answer.Header().Get("Content-Location")
}

// wait asks this destination for a job's status until it has ended.
func (w *worker) wait(at string) *httptest.ResponseRecorder {
	w.t.Helper()
	for end := time.Now().Add(10 * time.Minute); time.Now().Before(end); {
		answer := w.do("GET", at, "")
		if answer.Code != http.StatusAccepted {
			return answer
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.t.Fatal("the job does not end")
	return nil
}

// count returns how many patients there are.
func (w *worker) count() string {
	w.t.Helper()
	_, rest, _ := strings.Cut(w.do("GET", "/Patient?_summary=count", "").Body.String(), `"total":`)
	n, _, _ := strings.Cut(rest, "}")
	n, _, _ = strings.Cut(n, ",")
	return n
}

// An export that one destination has made is answered for by another one, its files
// whole or in part, also when the first is gone.
func TestExportIsServedByAllDestinations(t *testing.T) {
	url := postgrestest.New(t)
	a, b := startWorker(t, url, "a", nil), startWorker(t, url, "b", nil)
	const n = 30
	for i := range n {
		if answer := a.do("PUT", fmt.Sprint("/Patient/", i),
			fmt.Sprintf(`{"resourceType":"Patient","id":"%d"}`, i)); answer.Code != http.StatusCreated {
			t.Fatalf("%d %s", answer.Code, answer.Body)
		}
	}

	at := a.begin("GET", "/$export?_type=Patient", "", "Accept", "application/fhir+json")
	answer := b.wait(at)
	var manifest struct {
		Output []struct {
			URL   string `json:"url"`
			Count int    `json:"count"`
		} `json:"output"`
	}
	if err := json.Unmarshal(answer.Body.Bytes(), &manifest); err != nil || len(manifest.Output) != 1 ||
		manifest.Output[0].Count != n {
		t.Fatalf("%v %d %s", err, answer.Code, answer.Body)
	}

	file := manifest.Output[0].URL
	whole := a.do("GET", file, "").Body.String()
	a.close()
	if got := b.do("GET", file, "").Body.String(); got != whole || strings.Count(got, "\n") != n {
		t.Errorf("%d lines of %d bytes, and %d bytes from the other", strings.Count(got, "\n"), len(got), len(whole))
	}
	if part := b.do("GET", file, "", "Range", "bytes=10-29"); part.Code != http.StatusPartialContent ||
		part.Body.String() != whole[10:30] {
		t.Errorf("a part: %d %q", part.Code, part.Body)
	}
	if answer := b.do("DELETE", at, ""); answer.Code != http.StatusAccepted {
		t.Errorf("removed: %d", answer.Code)
	}
	if answer := b.do("GET", file, ""); answer.Code != http.StatusNotFound {
		t.Errorf("after that: %d", answer.Code)
	}
}

// An import goes on at another destination when the one that did it is cut off, and
// what the first still does is refused: each line is stored once.
func TestImportGoesOnElsewhere(t *testing.T) {
	url := postgrestest.New(t)
	a := startWorker(t, url, "a", nil)
	const n = 2500 // more than one transaction has
	a.deaf.Store(true)
	a.gate.Store(true)
	at := a.begin("POST", "/$import", strings.Repeat(`{"resourceType":"Patient"}`+"\n", n),
		"Content-Type", "application/fhir+ndjson")
	<-a.at // before it has stored anything

	b := startWorker(t, url, "b", nil)
	answer := b.wait(at)
	if got := b.count(); answer.Code != http.StatusOK || got != fmt.Sprint(n) {
		t.Fatalf("%d %s: %s patients", answer.Code, answer.Body, got)
	}

	a.resume <- true
	if err := <-a.late; !errors.Is(err, fhir.ErrOvertaken) {
		t.Errorf("the first goes on: %v", err)
	}
	a.close()
	if got := b.count(); got != fmt.Sprint(n) {
		t.Errorf("%s patients after the first has gone on", got)
	}
	if again := b.wait(at); again.Body.String() != answer.Body.String() {
		t.Errorf("the result is another: %d %s", again.Code, again.Body)
	}
}

// A change in the background is done once, by the destination that was cut off or by
// the one that has its job.
func TestChangeElsewhereIsDoneOnce(t *testing.T) {
	url := postgrestest.New(t)
	a := startWorker(t, url, "a", nil)
	a.deaf.Store(true)
	a.gate.Store(true)
	at := a.begin("POST", "/Patient", `{"resourceType":"Patient"}`)
	<-a.at

	b := startWorker(t, url, "b", nil)
	if answer := b.wait(at); !strings.Contains(answer.Body.String(), `"status":"201`) {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
	a.resume <- true
	if err := <-a.late; !errors.Is(err, fhir.ErrOvertaken) {
		t.Errorf("the first goes on: %v", err)
	}
	a.close()
	if got := b.count(); got != "1" {
		t.Errorf("%s patients", got)
	}
}

// lasting is work that goes on until it is ended.
type lasting struct{ begun, ended chan bool }

func (lasting) Check(context.Context, *fhir.Asked) error { return nil }

func (k lasting) Do(ctx context.Context, w *async.Work) error {
	w.Progress("half")
	k.begun <- true
	<-ctx.Done()
	k.ended <- true
	return ctx.Err()
}

// What one destination does the others know, and may end.
func TestWorkIsEndedFromElsewhere(t *testing.T) {
	url := postgrestest.New(t)
	k := lasting{
		begun: make(chan bool, 1),
		ended: make(chan bool, 1),
	}
	a := startWorker(t, url, "a", map[string]async.Kind{"$export": k})
	at := a.begin("GET", "/$export", "")
	<-k.begun

	b := startWorker(t, url, "b", nil)
	for b.do("GET", at, "").Header().Get("X-Progress") != "half" {
		time.Sleep(10 * time.Millisecond) // until it is stored, or the test's time is over
	}
	if answer := b.do("DELETE", at, ""); answer.Code != http.StatusAccepted {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
	<-k.ended
	if answer := a.do("GET", at, ""); answer.Code != http.StatusNotFound {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
}
