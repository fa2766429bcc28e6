package async_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/async"
)

// A client has room for a few jobs, and its jobs do not keep others' from being
// done.
func TestRoomOfAClient(t *testing.T) {
	k := endless{make(chan bool, 10)}
	e := newEnv(t, func(e *env) {
		e.kinds = map[string]async.Kind{"$export": k}
		e.limits.Room = async.Room{
			All:       6,
			PerClient: 5,
			Active:    3,
		}
	})

	for range 3 {
		e.begin("GET", "/$export", all, "")
	}
	w := e.do("GET", "/$export", all, "", "Prefer", "respond-async")
	if w.Code != 429 || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "throttled") {
		t.Errorf("one too many: %d %v %s", w.Code, w.Header(), w.Body)
	}

	const other = all + "; client=c2"
	at := e.begin("GET", "/Patient", other, "")
	if w := e.wait(at, other); w.Code != 200 {
		t.Errorf("another client's: %d %s", w.Code, w.Body)
	}
	for range 2 {
		e.wait(e.begin("GET", "/Patient", other, ""), other)
	}

	if w := e.do("GET", "/Patient", other, "", "Prefer", "respond-async"); w.Code != 429 {
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
		"bytes of one": {async.Limits{Job: 1 << 20}, lines{}, 413},
		"bytes of all": {async.Limits{Disk: 1 << 20}, lines{}, 413},
		"time":         {async.Limits{Time: 50 * time.Millisecond}, endless{make(chan bool, 1)}, 422},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, func(e *env) {
				e.kinds = map[string]async.Kind{"$export": c.kind}
				e.limits = c.limits
			})
			at := e.begin("GET", "/$export", all, "")
			if w := e.wait(at, all); w.Code != c.status || !strings.Contains(w.Body.String(), "too-costly") {
				t.Errorf("%d %s", w.Code, w.Body)
			}

			if w := e.do("GET", at+"/1.ndjson", all, ""); w.Code != 404 {
				t.Errorf("its file: %d", w.Code)
			}
		})
	}
}
