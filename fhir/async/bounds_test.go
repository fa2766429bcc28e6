package async_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/async"
	"fhirdest.example/fhir/async/asyncenv"
)

// A client has room for a few jobs, and its jobs do not keep others' from being
// done.
//
// Covers: FS-310
func TestRoomOfAClient(t *testing.T) {
	k := endless{make(chan bool, 10)}
	e := asyncenv.New(t, func(e *asyncenv.Env) {
		e.Kinds = exports(k)
		e.Limits.Room = async.Room{
			All:       6,
			PerClient: 5,
			Active:    3,
		}
	})

	for range 3 {
		e.Begin("GET", "/$export", asyncenv.All, "")
	}
	w := e.Do("GET", "/$export", asyncenv.All, "", "Prefer", "respond-async")
	if w.Code != 429 || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "throttled") {
		t.Errorf("one too many: %d %v %s", w.Code, w.Header(), w.Body)
	}

	const other = asyncenv.All + "; client=c2"
	at := e.Begin("GET", "/Patient", other, "")
	if w := e.Wait(at, other); w.Code != 200 {
		t.Errorf("another client's: %d %s", w.Code, w.Body)
	}
	for range 2 {
		e.Wait(e.Begin("GET", "/Patient", other, ""), other)
	}

	if w := e.Do("GET", "/Patient", other, "", "Prefer", "respond-async"); w.Code != 429 {
		t.Errorf("over the server's room: %d", w.Code)
	}
}

// lines is work that writes lines until it fails.
type lines struct{}

func (lines) Check(context.Context, *fhir.Asked) error { return nil }

func (lines) Do(ctx context.Context, w *async.Work) error {
	f, err := w.Create("1.ndjson", "application/fhir+ndjson")
	if err != nil {
		return err
	}
	defer f.Abandon()

	for err == nil {
		if err = w.Alive(ctx); err == nil {
			err = f.Line([]byte(strings.Repeat("x", 1000)))
		}
	}

	return err
}

// A job that would write more than it may, or take longer, fails with that reason,
// and leaves no file.
func TestBoundsOfAJob(t *testing.T) {
	for name, c := range map[string]struct {
		limits async.Limits
		kind   async.Kind
		status int
	}{
		"bytes of one":      {async.Limits{Job: 1 << 20}, lines{}, 413},
		"bytes of all":      {async.Limits{Room: async.Room{Disk: 1 << 20}}, lines{}, 413},
		"share of a client": {async.Limits{Room: async.Room{Share: 1 << 20}}, lines{}, 413},
		"time":              {async.Limits{Time: 50 * time.Millisecond}, endless{make(chan bool, 1)}, 422},
	} {
		t.Run(name, func(t *testing.T) {
			e := asyncenv.New(t, func(e *asyncenv.Env) {
				e.Kinds = exports(c.kind)
				e.Limits = c.limits
			})
			at := e.Begin("GET", "/$export", asyncenv.All, "")
			if w := e.Wait(at, asyncenv.All); w.Code != c.status || !strings.Contains(w.Body.String(), "too-costly") {
				t.Errorf("%d %s", w.Code, w.Body)
			}

			if w := e.Do("GET", at+"/1.ndjson", asyncenv.All, ""); w.Code != 404 {
				t.Errorf("its file: %d", w.Code)
			}
		})
	}
}

// What one client keeps is not in the way of another's work.
//
// Covers: ER-18
func TestShareOfAClient(t *testing.T) {
	may := make(chan bool)
	close(may)
	e := asyncenv.New(t, func(e *asyncenv.Env) {
		e.Kinds = exports(half{may})
		e.Limits.Disk = 2 << 20
	})

	first := e.Begin("GET", "/$export", asyncenv.All, "")
	if w := e.Wait(first, asyncenv.All); w.Code != 200 {
		t.Fatalf("the first: %d %s", w.Code, w.Body)
	}
	if w := e.Wait(e.Begin("GET", "/$export", asyncenv.All, ""), asyncenv.All); w.Code != 413 ||
		!strings.Contains(w.Body.String(), "share") {
		t.Errorf("the second: %d %s", w.Code, w.Body)
	}

	const other = asyncenv.All + "; client=c2"
	if w := e.Wait(e.Begin("GET", "/$export", other, ""), other); w.Code != 200 {
		t.Errorf("another client's: %d %s", w.Code, w.Body)
	}

	e.Reopen() // what is kept counts after a restart, too
	e.Run()
	if w := e.Wait(e.Begin("GET", "/$export", asyncenv.All, ""), asyncenv.All); w.Code != 413 {
		t.Errorf("after a restart: %d %s", w.Code, w.Body)
	}
	if w := e.Do("DELETE", first, asyncenv.All, ""); w.Code != 202 {
		t.Errorf("the first, removed: %d %s", w.Code, w.Body)
	}
	if w := e.Wait(e.Begin("GET", "/$export", asyncenv.All, ""), asyncenv.All); w.Code != 200 {
		t.Errorf("after that: %d %s", w.Code, w.Body)
	}
}
