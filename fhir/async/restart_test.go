package async_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/async"
	"fhirdest.example/fhir/async/asyncenv"
)

// unfinished is a store that loses how jobs end, as a crash just before would.
type unfinished struct {
	async.Store
	lost chan bool
}

var errCrash = errors.New("the machine stops here")

func (s unfinished) Update(ctx context.Context, id string, change func(*async.Job) error) error {
	return s.Store.Update(ctx, id, func(j *async.Job) error {
		if err := change(j); err != nil {
			return err
		}
		if !j.Ended.IsZero() {
			select {
			case s.lost <- true:
			default:
			}
			return errCrash
		}
		return nil
	})
}

// crash has a job done, and its end lost; then everything starts again.
func crash(t *testing.T, e *asyncenv.Env, method, path, body string) (at string) {
	t.Helper()
	lost := make(chan bool, 1)
	e.Broken = func(s async.Store) async.Store { return unfinished{s, lost} }
	e.Reopen()
	e.Run()
	at = e.Begin(method, path, asyncenv.All, body)
	<-lost

	e.Broken = nil
	e.Reopen()
	e.Run()
	return at
}

// A job that was not begun when the server stopped is done after the start, with its
// body; one that had ended keeps its result.
func TestJobsSurviveARestart(t *testing.T) {
	e := asyncenv.New(t)
	done := e.Begin("PUT", "/Patient/a", asyncenv.All, strings.Replace(patient, `"p"`, `"a"`, 1))
	e.Result(done, asyncenv.All)

	e.Reopen()
	waiting := e.Begin("PUT", "/Patient/p", asyncenv.All, patient) // nobody works yet
	if w := e.Do("GET", waiting, asyncenv.All, ""); w.Header().Get("X-Progress") != "waiting" {
		t.Errorf("%d %v", w.Code, w.Header())
	}

	e.Reopen()
	e.Run()
	if got := e.Result(waiting, asyncenv.All); !strings.HasPrefix(got.Response.Status, "201") {
		t.Errorf("%+v", got)
	}
	if got := e.Result(done, asyncenv.All); !strings.HasPrefix(got.Response.Status, "201") {
		t.Errorf("%+v", got)
	}
}

// What changes resources is done once, even if the server stops when it is done and
// not yet noted; a read is done again; a batch that may be half done says so.
func TestWorkIsDoneOnce(t *testing.T) {
	transaction := `{"resourceType":"Bundle","type":"transaction","entry":[{"resource":` +
		`{"resourceType":"Patient","active":true},"request":{"method":"POST","url":"Patient"}}]}`
	for name, c := range map[string]struct {
		method, path, body string
		status             int
		patients           string
	}{
		"create":      {"POST", "/Patient", patient, 200, `"total":1,`},
		"transaction": {"POST", "", transaction, 200, `"total":1,`},
		"read":        {"GET", "/Patient?_count=0", "", 200, `"total":0,`},
		"batch":       {"POST", "", strings.Replace(transaction, "transaction", "batch", 1), 500, `"total":1,`},
		"batch of GETs": {
			"POST", "",
			`{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET","url":"Patient?_count=1"}}]}`,
			200, `"total":0,`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := asyncenv.New(t)
			at := crash(t, e, c.method, c.path, c.body)
			w := e.Wait(at, asyncenv.All)
			if w.Code != c.status {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if c.status == 500 && !strings.Contains(w.Body.String(), "may have been done") {
				t.Errorf("%s", w.Body)
			}

			if w := e.Do("GET", "/Patient?_summary=count", asyncenv.All, ""); !strings.Contains(w.Body.String()+",",
				c.patients[:len(c.patients)-1]) {
				t.Errorf("%s", w.Body)
			}
		})
	}
}

// endless is work that ends the server each time, or would go on for ever.
type endless struct{ begun chan bool }

func (endless) Check(context.Context, *fhir.Asked) error { return nil }

func (k endless) Do(ctx context.Context, w *async.Work) error {
	f, err := w.Create("1.ndjson", "application/fhir+ndjson")
	if err != nil {
		return err
	}
	defer f.Abandon()
	k.begun <- true
	<-ctx.Done()
	return ctx.Err()
}

// Work that is under way ends when it is cancelled.
func TestWorkUnderWay(t *testing.T) {
	k := endless{make(chan bool, 1)}
	e := asyncenv.New(t, func(e *asyncenv.Env) { e.Kinds = exports(k) })
	at := e.Begin("GET", "/$export", asyncenv.All, "")
	<-k.begun
	if w := e.Do("GET", at+"/1.ndjson", asyncenv.All, ""); w.Code != 404 {
		t.Errorf("an unfinished file: %d", w.Code)
	}
	if w := e.Do("DELETE", at, asyncenv.All, ""); w.Code != 202 {
		t.Errorf("%d %s", w.Code, w.Body)
	}

	e.Empty()
}

// exports has $export done by a kind of work.
func exports(k async.Kind) func(*asyncenv.Env) map[string]async.Kind {
	return func(*asyncenv.Env) map[string]async.Kind {
		return map[string]async.Kind{"$export": k}
	}
}
