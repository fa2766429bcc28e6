package bolt

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/scope"
	"fhirdest.example/fhir/trail"
)

// fhirEnv is a FHIR service over a real file.
type fhirEnv struct {
	t     *testing.T
	store *FHIR
	h     http.Handler
	mu    sync.Mutex // guards failed
	// failed are the causes that the service reported to the operator
	failed []error
}

func newFHIREnv(t *testing.T, o Options) *fhirEnv {
	t.Helper()
	s, err := OpenFHIR(filepath.Join(t.TempDir(), "fhir.bolt"), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })

	e := &fhirEnv{t: t, store: s}
	scopes, _ := scope.ParseSet([]string{"system/*.cruds", "system/AuditEvent.rs"})
	e.h, err = fhir.New(fhir.Config{
		PublicBase: "https://fhir.test/fhir",
		Store:      s,
		Now:        time.Now,
		Authorize: func(*http.Request) (*fhir.Grant, *fhir.Denial) {
			return &fhir.Grant{Client: "c", TokenID: "t", Scopes: scopes, Expires: time.Now().Add(time.Hour)}, nil
		},
		Failed: func(_ *http.Request, err error) {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.failed = append(e.failed, err)
		},
	})
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { e.h.(io.Closer).Close() })

	return e
}

func (e *fhirEnv) do(method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/fhir"+path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/fhir+json")
	if method == http.MethodPatch {
		r.Header.Set("Content-Type", "application/json-patch+json")
	}
	w := httptest.NewRecorder()
	e.h.ServeHTTP(w, r)
	return w
}

// want sends a request and demands a status.
func (e *fhirEnv) want(status int, method, path, body string) *httptest.ResponseRecorder {
	e.t.Helper()
	w := e.do(method, path, body)
	if w.Code != status {
		e.t.Errorf("%s %s: %d, want %d: %s", method, path, w.Code, status, w.Body)
	}
	return w
}

func patient(id, family string) string {
	return fmt.Sprintf(`{"resourceType":"Patient","id":%q,"active":true,"name":[{"family":%q}]}`, id, family)
}

// seed stores two patients of two versions each and an Observation that refers to
// the first, and returns the first's number.
func (e *fhirEnv) seed() (doc uint64) {
	e.t.Helper()
	for _, family := range []string{"First", "Second"} {
		for _, id := range []string{"a", "b"} {
			if w := e.do("PUT", "/Patient/"+id, patient(id, family)); w.Code >= 300 {
				e.t.Fatal(w.Code, w.Body)
			}
		}
	}

	e.want(201, "PUT", "/Observation/o", `{"resourceType":"Observation","id":"o","status":"final",`+
		`"code":{"text":"x"},"subject":{"reference":"Patient/a"}}`)

	err := e.store.View(e.t.Context(), func(sn fhir.Snapshot) (err error) {
		doc, _, err = sn.Lookup(e.t.Context(), "Patient", "a")
		return err
	})
	if err != nil {
		e.t.Fatal(err)
	}

	return doc
}

type httpStep struct {
	status             int
	method, path, body string
}

func put(path, body string) string {
	return `{"resourceType":"Bundle","type":"transaction","entry":[` +
		`{"fullUrl":"https://fhir.test/fhir/Patient/b","resource":` + patient("b", "Third") + `,` +
		`"request":{"method":"PUT","url":"Patient/b"}},` +
		`{"fullUrl":"https://fhir.test/fhir/` + path + `","resource":` + body + `,` +
		`"request":{"method":"PUT","url":"` + path + `"}}]}`
}

// A damaged row is 500 and an alarm for whoever needs it, under honest traffic
// that does not; nothing is written over it, and history is not begun anew.
func TestDamagedRowOfAResource(t *testing.T) {
	a := patient("a", "Third")
	current := []httpStep{
		{500, "GET", "/Patient/a", ""},
		{500, "HEAD", "/Patient/a", ""},
		{500, "GET", "/Patient/a/_history", ""},
		{500, "GET", "/Patient/a/_history/1", ""},
		{500, "GET", "/Patient", ""},
		{500, "GET", "/Patient?active=true", ""},
		{500, "GET", "/Patient?active=true&_total=none", ""},
		{500, "GET", "/Observation?_include=Observation:subject", ""},
		{500, "GET", "/Patient/a/$everything", ""},
		{500, "PUT", "/Patient/a", a},
		{500, "PUT", "/Patient?family=Second&active=true&_id=a", a},
		{500, "PATCH", "/Patient/a", `[{"op":"replace","path":"/active","value":false}]`},
		{500, "DELETE", "/Patient/a", ""},
		{500, "POST", "/", put("Patient/a", a)},
		{200, "GET", "/Patient/b", ""},
		{200, "GET", "/Patient?_id=b", ""},
		{200, "GET", "/Observation/o", ""},
		{200, "GET", "/Observation?subject=Patient/a", ""},
	}

	for _, row := range []struct {
		name, bucket string
		key          func(doc uint64) []byte
		steps        []httpStep
	}{
		{"current version", "docs", number, current},
		{"earlier version", "versions", func(doc uint64) []byte {
			return append(number(doc), number(1)...)
		}, []httpStep{
			{500, "GET", "/Patient/a/_history/1", ""},
			{500, "GET", "/Patient/a/_history", ""},
			{500, "GET", "/Patient/_history", ""},
			{500, "GET", "/_history", ""},
			{200, "GET", "/Patient/a", ""},
			{200, "PUT", "/Patient/a", a},
		}},
		{"number of an id", "ids", func(uint64) []byte { return idKey("Patient", "a") }, []httpStep{
			{500, "GET", "/Patient/a", ""},
			{500, "PUT", "/Patient/a", a},
			{500, "PATCH", "/Patient/a", `[]`},
			{500, "DELETE", "/Patient/a", ""},
			{200, "GET", "/Patient/b", ""},
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			e := newFHIREnv(t, Options{})
			key := row.key(e.seed())
			overwrite(t, e.store.db, row.bucket, key)
			stop := e.honestTraffic()
			for _, s := range row.steps {
				e.want(s.status, s.method, s.path, s.body)
			}
			stop()

			e.wantAlarm("fhir.bolt", row.bucket, printable(key))
			if row.bucket == "docs" {
				e.wantUntouched(key)
			}
			e.want(200, "GET", "/Patient/b", "")
		})
	}
}

// honestTraffic creates resources until the returned function is called.
func (e *fhirEnv) honestTraffic() (stop func()) {
	done := make(chan bool)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}

				path := fmt.Sprintf("/Organization/o%d-%d", i, n)
				body := fmt.Sprintf(`{"resourceType":"Organization","id":"o%d-%d","name":"x"}`, i, n)
				e.want(201, "PUT", path, body)
				e.want(200, "GET", path, "")
			}
		})
	}

	return func() { close(done); wg.Wait() }
}

func (e *fhirEnv) wantAlarm(parts ...string) {
	e.t.Helper()
	all := strings.Join(e.store.Health(), "\n")
	for _, part := range parts {
		if !strings.Contains(all, part) {
			e.t.Errorf("alarms %q do not name %q", all, part)
		}
	}

	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.failed) == 0 {
		e.t.Error("the operator was told of nothing")
	}
	for _, err := range e.failed {
		wantDamaged(e.t, err)
	}
}

// wantUntouched demands that the damaged row and the history below it are as
// they were.
func (e *fhirEnv) wantUntouched(key []byte) {
	e.t.Helper()
	err := e.store.db.View(func(tx *bbolt.Tx) error {
		if got := tx.Bucket([]byte("docs")).Get(key); string(got) != "damaged" {
			e.t.Errorf("the damaged row became %q", got)
		}
		n := 0
		c := tx.Bucket([]byte("versions")).Cursor()
		for k, _ := c.Seek(key); k != nil && string(k[:8]) == string(key); k, _ = c.Next() {
			n++
		}

		if n != 1 {
			e.t.Errorf("%d earlier versions, want 1", n)
		}
		return nil
	})
	if err != nil {
		e.t.Error(err)
	}
}

// While the disk is full or read-only, whatever would be stored is 503, transient,
// with a time to try again; afterwards it goes on, and nothing was stored.
func TestFullDiskIsTransient(t *testing.T) {
	for _, cause := range []error{syscall.ENOSPC, syscall.EROFS} {
		t.Run(cause.Error(), func(t *testing.T) {
			var full atomic.Bool
			e := newFHIREnv(t, Options{commit: func(tx *bbolt.Tx) error {
				if full.Load() {
					return cause
				}
				return tx.Commit()
			}})
			e.seed()

			full.Store(true)
			for _, s := range []httpStep{
				{503, "POST", "/Patient", patient("new", "New")},
				{503, "PUT", "/Patient/a", patient("a", "New")},
				{503, "PATCH", "/Patient/a", `[{"op":"replace","path":"/active","value":false}]`},
				{503, "DELETE", "/Patient/a", ""},
				{503, "POST", "/", put("Patient/a", patient("a", "New"))},
			} {
				w := e.want(s.status, s.method, s.path, s.body)
				if w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), `"transient"`) {
					t.Errorf("%s %s: %v %s", s.method, s.path, w.Header(), w.Body)
				}
			}

			if h := e.store.Health(); len(h) != 1 || !strings.Contains(h[0], cause.Error()) {
				t.Errorf("alarms: %q", h)
			}

			full.Store(false)
			w := e.want(200, "GET", "/Patient/a", "")
			if !strings.Contains(w.Body.String(), "Second") || w.Header().Get("ETag") != `W/"2"` {
				t.Errorf("stored: %s", w.Body)
			}
			e.want(200, "PUT", "/Patient/a", patient("a", "Third"))
			if h := e.store.Health(); len(h) > 0 {
				t.Errorf("alarms afterwards: %q", h)
			}
		})
	}
}

// A damaged block of audit records, segment of their index or row of a log is an
// error for whoever needs it, and the rest goes on.
func TestDamagedRecords(t *testing.T) {
	search := httpStep{500, "GET", "/AuditEvent?action=C", ""}
	for _, row := range []struct {
		bucket string
		steps  []httpStep
	}{
		{"records", []httpStep{{500, "GET", "/AuditEvent/" + trail.ID(4), ""}, search}},
		{"segments", []httpStep{{200, "GET", "/AuditEvent/" + trail.ID(4), ""}, search}},
	} {
		t.Run(row.bucket, func(t *testing.T) {
			e := newFHIREnv(t, Options{})
			e.records(3 * tailRecords / 2)
			e.seed()
			overwrite(t, e.store.db, row.bucket, number(1))

			for _, s := range append(row.steps,
				httpStep{200, "GET", "/Patient/a", ""},
				httpStep{200, "PUT", "/Patient/a", patient("a", "Third")},
				httpStep{200, "GET", "/Patient?active=true", ""},
				httpStep{200, "GET", "/Patient/_history", ""},
			) {
				e.want(s.status, s.method, s.path, s.body)
			}

			e.wantAlarm("fhir.bolt", row.bucket)
		})
	}
}

// A damaged record that is not indexed yet keeps nobody else's change from being
// stored, not even when the records around it would be indexed.
func TestDamagedTailStopsNoChange(t *testing.T) {
	e := newFHIREnv(t, Options{})
	e.records(blockRecords)
	overwrite(t, e.store.db, "records", number(1))
	e.seed()

	for range 3 {
		e.records(tailRecords)
		e.want(200, "PUT", "/Patient/a", patient("a", "Third"))
	}

	e.want(500, "GET", "/AuditEvent?action=C", "")
	e.want(200, "GET", "/Patient?active=true", "")
	e.wantAlarm("fhir.bolt", "records")
}

// records stores audit records, numbered from 1.
func (e *fhirEnv) records(n int) {
	e.t.Helper()
	err := e.store.Update(e.t.Context(), func(c fhir.Change) error {
		for range n {
			rec := trail.Record{Client: "c", At: time.Now(), Interaction: "create", Outcome: "0"}
			if err := c.Append(context.Background(), []trail.Record{rec}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		e.t.Fatal(err)
	}
}
