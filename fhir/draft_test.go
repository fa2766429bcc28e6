package fhir_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"fhirdest.example/fhir"
)

// hookedStore calls before ahead of each change, once it is set, and gives the
// changes the resources through entry.
type hookedStore struct {
	fhir.Store
	before func(ctx context.Context) error
	entry  func(fhir.Entry) fhir.Entry
}

func (s *hookedStore) Update(ctx context.Context, f func(fhir.Change) error) error {
	if before := s.before; before != nil {
		s.before = nil
		if err := before(ctx); err != nil {
			return err
		}
	}

	return s.Store.Update(ctx, func(c fhir.Change) error {
		if s.entry == nil {
			return f(c)
		}
		return f(hookedChange{c, s.entry})
	})
}

type hookedChange struct {
	fhir.Change
	entry func(fhir.Entry) fhir.Entry
}

func (c hookedChange) Entry(ctx context.Context, doc uint64) (fhir.Entry, bool, error) {
	e, ok, err := c.Change.Entry(ctx, doc)
	return c.entry(e), ok, err
}

// hook puts a hookedStore under the service.
func (w *env) hook(timeout time.Duration) *hookedStore {
	w.t.Helper()
	store := &hookedStore{Store: w.store}
	h, err := fhir.New(fhir.Config{
		PublicBase:  publicBase,
		PrivateBase: privateBase,
		Store:       store,
		Authorize:   authorize,
		Timeout:     timeout,
		Now:         func() time.Time { return w.now },
	})
	if err != nil {
		w.t.Fatal(err)
	}

	w.h = h
	return store
}

// writes are ways to change Patient/p, and what then is in it.
var writes = []struct {
	name string
	do   func(w *env) answer
	want string
}{
	{"patch", func(w *env) answer {
		return w.do("PATCH", "/Patient/p", everything, `[{"op":"add","path":"/gender","value":"other"}]`,
			"Content-Type", patchType)
	}, `"gender":"other"`},
	{"conditional patch", func(w *env) answer {
		return w.do("PATCH", "/Patient?_id=p", everything, `[{"op":"add","path":"/gender","value":"other"}]`,
			"Content-Type", patchType)
	}, `"gender":"other"`},
	{"patch in a transaction", func(w *env) answer {
		return w.do("POST", "", everything, bundleOf("transaction",
			patchEntry("Patient/p", `[{"op":"add","path":"/gender","value":"other"}]`)))
	}, `"gender":"other"`},
	{"update", func(w *env) answer {
		return w.do("PUT", "/Patient/p", everything, `{"resourceType":"Patient","id":"p","gender":"other"}`)
	}, `"gender":"other"`},
	{"conditional update", func(w *env) answer {
		return w.do("PUT", "/Patient?_id=p", everything, `{"resourceType":"Patient","gender":"other"}`)
	}, `"gender":"other"`},
	{"update in a transaction", func(w *env) answer {
		return w.do("POST", "", everything, bundleOf("transaction",
			entryOf("PUT", "Patient/p", `{"resourceType":"Patient","id":"p","gender":"other"}`)))
	}, `"gender":"other"`},
}

const active = `{"resourceType":"Patient","id":"p","active":true}`

// What a write stores is made before the writer is entered: inside, the body
// that it follows is not even parsed.
func TestWritesAreDraftedOutsideTheWriter(t *testing.T) {
	for _, c := range writes {
		t.Run(c.name, func(t *testing.T) {
			w := newEnv(t, 0)
			w.do("PUT", "/Patient/p", everything, active).want(201)
			w.hook(0).entry = func(e fhir.Entry) fhir.Entry {
				if e.ID == "p" && e.Version == 1 {
					e.Body = []byte("not JSON")
				}
				return e
			}

			c.do(w).want(200)
			if got := w.get("/Patient/p", everything).want(200).Body.String(); !strings.Contains(got, c.want) {
				t.Errorf("got %s", got)
			}
		})
	}
}

// A draft counts only for the version that it follows.
func TestDraftsOfAnotherVersionAreDropped(t *testing.T) {
	for _, c := range writes {
		for name, between := range map[string]func(w *env){
			"changed": func(w *env) {
				w.do("PUT", "/Patient/p", everything,
					`{"resourceType":"Patient","id":"p","birthDate":"2000-01-01"}`).want(200)
			},
			"changed twice": func(w *env) {
				w.do("PUT", "/Patient/p", everything, `{"resourceType":"Patient","id":"p","active":false}`).want(200)
				w.do("PUT", "/Patient/p", everything,
					`{"resourceType":"Patient","id":"p","birthDate":"2000-01-01"}`).want(200)
			},
		} {
			t.Run(c.name+", "+name, func(t *testing.T) {
				w := newEnv(t, 0)
				w.do("PUT", "/Patient/p", everything, active).want(201)
				straight := *w
				versions := strings.Count(name, " ") + 3 // the first, those between, and the last
				w.hook(0).before = func(context.Context) error { between(&straight); return nil }
				c.do(w).want(200)

				got := w.get("/Patient/p", everything).want(200)
				body := got.Body.String()
				if !strings.Contains(body, c.want) || got.Header().Get("ETag") != fmt.Sprintf(`W/"%d"`, versions) {
					t.Errorf("got %s %s", got.Header().Get("ETag"), body)
				}
				if strings.Contains(c.name, "patch") && !strings.Contains(body, "2000-01-01") {
					t.Errorf("a change of another client is lost: %s", body)
				}
			})
		}
	}
}

// A patch whose draft does not fit what has become of the resource is refused,
// and one that does is done, whatever was drafted.
func TestDraftedPatchThatFailsIsTriedAgain(t *testing.T) {
	w := newEnv(t, 0)
	w.do("PUT", "/Patient/p", everything, active).want(201)
	straight := *w
	test := `[{"op":"test","path":"/active","value":false},{"op":"add","path":"/gender","value":"other"}]`
	store := w.hook(0)
	w.do("PATCH", "/Patient/p", everything, test, "Content-Type", patchType).want(422)

	store.before = func(context.Context) error {
		straight.do("PUT", "/Patient/p", everything, `{"resourceType":"Patient","id":"p","active":false}`).want(200)
		return nil
	}
	w.do("PATCH", "/Patient/p", everything, test, "Content-Type", patchType).want(200)
	store.before = func(context.Context) error {
		straight.do("PUT", "/Patient/p", everything, active).want(200)
		return nil
	}

	w.do("PATCH", "/Patient/p", everything, test, "Content-Type", patchType).want(422)
}

// One deadline covers a request's time in the writer and that of waiting for
// it.
func TestWaitingForTheWriterEnds(t *testing.T) {
	for _, c := range append(writes, struct {
		name string
		do   func(w *env) answer
		want string
	}{"create", func(w *env) answer {
		return w.do("POST", "/Patient", everything, `{"resourceType":"Patient","active":true}`)
	}, ""}) {
		t.Run(c.name, func(t *testing.T) {
			w := newEnv(t, 0)
			w.do("PUT", "/Patient/p", everything, active).want(201)
			w.t = discarded{t}
			w.hook(100 * time.Millisecond).before = func(ctx context.Context) error {
				<-ctx.Done()
				return ctx.Err()
			}
			if a := c.do(w); a.Code != 503 || a.Header().Get("Retry-After") == "" {
				t.Errorf("%d %v %s", a.Code, a.Header(), a.Body)
			}
		})
	}
}

// discarded is a test whose environment may see answers of 5xx.
type discarded struct{ testing.TB }

func (discarded) Errorf(string, ...any) {}
