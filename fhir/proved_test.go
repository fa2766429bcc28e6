package fhir_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"fhirdest.example/fhir"
)

// newProving is a service that makes Provenance, over the store that wrap returns.
func newProving(t *testing.T, wrap func(fhir.Store) fhir.Store) *env {
	t.Helper()
	w := newEnv(t, 0)
	var store fhir.Store = w.store
	if wrap != nil {
		store = wrap(store)
	}
	s, err := fhir.New(fhir.Config{
		PublicBase: publicBase,
		Store:      store,
		Authorize:  authorize,
		Now:        func() time.Time { return w.now },
		Provenance: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	w.h = s
	return w
}

const provHeader = `{"resourceType":"Provenance","recorded":"2026-01-02T03:04:05Z","agent":[{"who":{"display":"x"}}]}`

func observationOf(id, patient string) string {
	return fmt.Sprintf(`{"resourceType":"Observation","id":%q,"status":"final","code":{"text":"x"},"subject":{"reference":"Patient/%s"}}`,
		id, patient)
}

// proofs returns the targets of the Provenances that a token sees.
func (w *env) proofs(token string) (all []string) {
	w.t.Helper()
	for _, e := range w.get("/Provenance?_sort=_lastUpdated&_count=100", token).bundle().Entry {
		text := string(e.Resource)
		from := strings.Index(text, `"target":[`) + len(`"target":[`)
		all = append(all, text[from:from+strings.Index(text[from:], "]")])
	}
	slices.Sort(all)
	return all
}

// A token of one patient sees the Provenance of that record alone, also of what was
// changed together with the record of another.
// Covers: FS-506, FS-302
func TestProvenanceIsOfOneRecord(t *testing.T) {
	w := newProving(t, nil)
	const system = "system/*.cruds"
	entry := func(typ, id, body string) string {
		return `{"resource":` + body + `,"request":{"method":"PUT","url":"` + typ + "/" + id + `"}}`
	}
	w.do("POST", "", system, `{"resourceType":"Bundle","type":"transaction","entry":[`+strings.Join([]string{
		entry("Patient", "p", `{"resourceType":"Patient","id":"p"}`),
		entry("Patient", "q", `{"resourceType":"Patient","id":"q"}`),
		entry("Observation", "op", observationOf("op", "p")),
		entry("Observation", "oq", observationOf("oq", "q")),
		entry("Organization", "o", `{"resourceType":"Organization","id":"o","name":"O"}`),
	}, ",")+`]}`).want(200)

	for token, want := range map[string][]string{
		"patient/*.rs; patient=p": {`{"reference":"Patient/p/_history/1"},{"reference":"Observation/op/_history/1"}`},
		"patient/*.rs; patient=q": {`{"reference":"Patient/q/_history/1"},{"reference":"Observation/oq/_history/1"}`},
		"patient/*.rs; patient=z": nil,
	} {
		if got := w.proofs(token); !slices.Equal(got, want) {
			t.Errorf("%s sees %q", token, got)
		}
	}
	if got := w.proofs("system/*.rs"); len(got) != 3 {
		t.Errorf("%q", got)
	}
}

// What a client of one patient brings in the header is in that patient's record, and
// the header writes into no other.
// Covers: FS-505, FS-302
func TestXProvenanceStaysInTheRecord(t *testing.T) {
	w := newProving(t, nil)
	w.do("PUT", "/Patient/p", "system/*.cruds", `{"resourceType":"Patient","id":"p"}`).want(201)
	const own = "patient/*.cruds; patient=p"
	w.do("POST", "/Observation", own, observationOf("x", "p"), "X-Provenance", provHeader).want(201)
	if got := w.proofs(own); len(got) != 2 {
		t.Errorf("%q", got)
	}

	other := strings.Replace(provHeader, `{`, `{"extension":[{"url":"http://hl7.org/fhir/5.0/StructureDefinition/`+
		`extension-Provenance.patient","valueReference":{"reference":"Patient/q"}}],`, 1)
	w.do("POST", "/Observation", own, observationOf("x", "p"), "X-Provenance", other).want(403)
	if got := w.get("/Observation?subject=Patient/p", own).bundle(); len(got.Entry) != 1 {
		t.Error("the Observation was stored without its Provenance")
	}
}

// unproved is a store that refuses every Provenance.
type unproved struct{ fhir.Store }

var errUnproved = errors.New("no Provenance")

func (s unproved) Update(ctx context.Context, f func(fhir.Change) error) error {
	return s.Store.Update(ctx, func(c fhir.Change) error { return f(unprovedChange{c}) })
}

type unprovedChange struct{ fhir.Change }

func (c unprovedChange) Put(ctx context.Context, e fhir.Entry) (uint64, error) {
	if e.Type == "Provenance" {
		return 0, fmt.Errorf("%w: %w", fhir.ErrUnavailable, errUnproved)
	}
	return c.Change.Put(ctx, e)
}

// A change and its Provenance are one transaction: where the one cannot be stored, the
// other is not, whatever the way.
// Covers: FS-505, FS-506
func TestNoChangeWithoutItsProvenance(t *testing.T) {
	w := newProving(t, func(s fhir.Store) fhir.Store { return unproved{s} })
	const token = "system/*.cruds"
	body := observationOf("x", "p")
	for name, row := range map[string]struct{ method, path, body, header string }{
		"create": {"POST", "/Observation", body, ""},
		"update": {"PUT", "/Observation/x", body, ""},
		"header": {"PUT", "/Observation/x", body, provHeader},
		"transaction": {"POST", "", `{"resourceType":"Bundle","type":"transaction","entry":[{"resource":` + body +
			`,"request":{"method":"PUT","url":"Observation/x"}}]}`, ""},
	} {
		r := httptest.NewRequest(row.method, "/acme/fhir"+row.path, strings.NewReader(row.body))
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Content-Type", "application/fhir+json")
		if row.header != "" {
			r.Header.Set("X-Provenance", row.header)
		}
		rec := httptest.NewRecorder()
		w.h.ServeHTTP(rec, r)
		if rec.Code != http.StatusServiceUnavailable {
			t.Errorf("%s: %d %s", name, rec.Code, rec.Body)
		}
	}
	if all := w.get("/_history", token).bundle().Entry; len(all) > 0 {
		t.Errorf("something was stored: %v", all)
	}
}
