package accesstest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"fhirdest.example/fhir"
)

// node is a JSON object.
type node = map[string]any

// version is one version of a resource; body is nil for a deletion.
type version struct {
	n    uint64
	body node
}

// record is a resource with all its versions, the first one first.
type record struct {
	typ, id  string
	versions []version
}

func (r *record) ref() string { return r.typ + "/" + r.id }

// now is the current version.
func (r *record) now() version { return r.versions[len(r.versions)-1] }

// live is a version, and for a deletion the one that was deleted.
func (r *record) live(n uint64) node {
	if v := r.versions[n-1]; v.body != nil || n == 1 {
		return v.body
	}
	return r.versions[n-2].body
}

// state is everything that the store has but audit records, by Type/id.
type state map[string]*record

// of lists the resources of a type that are there, in order.
func (s state) of(typ string) (all []*record) {
	for _, r := range s {
		if r.typ == typ && r.now().body != nil {
			all = append(all, r)
		}
	}

	slices.SortFunc(all, func(x, y *record) int { return strings.Compare(x.id, y.id) })
	return all
}

// body is what a reference leads to; nil if it is not there.
func (s state) body(ref string) node {
	if r := s[ref]; r != nil {
		return r.now().body
	}
	return nil
}

// types are those that the store has; audit records are no matter of labels and Consents.
var types = []string{
	"Binary", "Bundle", "Condition", "Consent", "Device", "DocumentReference", "Encounter", "MedicationRequest",
	"Observation", "Organization", "Patient", "Practitioner", "Provenance",
}

// read returns a state with what the store has got since, which it reads past everything
// that decides about access; at is how far it was read.
func (s state) read(t testing.TB, store fhir.Store, at *uint64) state {
	t.Helper()
	all, since := maps.Clone(s), *at
	err := store.View(context.Background(), func(sn fhir.Snapshot) error {
		for _, typ := range types {
			var failed error
			err := sn.Changes(context.Background(), typ, 0, func(seq, doc, n uint64) bool {
				if seq <= since {
					return false
				}
				*at = max(*at, seq)
				failed = all.add(s, sn, doc, n)
				return failed == nil
			})
			if err = errors.Join(err, failed); err != nil {
				return err
			}
		}

		return nil
	})
	if err != nil {
		t.Fatal(err)
	}

	for ref, r := range all {
		slices.SortFunc(r.versions, func(x, y version) int { return int(x.n) - int(y.n) })
		if r.now().n != uint64(len(r.versions)) {
			t.Fatalf("%s has %d versions, the last is %d", ref, len(r.versions), r.now().n)
		}
	}

	return all
}

// add adds a version to a record that the former state does not share.
func (s state) add(former state, sn fhir.Snapshot, doc, n uint64) error {
	e, ok, err := sn.Version(context.Background(), doc, n)
	if err != nil || !ok {
		return fmt.Errorf("version %d of %d: %v, %v", n, doc, ok, err)
	}

	ref := e.Type + "/" + e.ID
	r := s[ref]
	if r == nil || r == former[ref] {
		r = &record{
			typ: e.Type,
			id:  e.ID,
		}
		if old := former[ref]; old != nil {
			r.versions = slices.Clone(old.versions)
		}
		s[ref] = r
	}

	v := version{n: n}
	if !e.Deleted {
		if err := json.Unmarshal(e.Body, &v.body); err != nil {
			return err
		}
	}

	r.versions = append(r.versions, v)
	return nil
}

// values returns what a path leads to, through arrays.
func values(v any, path ...string) (all []any) {
	if list, ok := v.([]any); ok {
		for _, one := range list {
			all = append(all, values(one, path...)...)
		}
		return all
	}

	if len(path) == 0 {
		if v == nil {
			return nil
		}
		return []any{v}
	}
	if object, ok := v.(node); ok {
		return values(object[path[0]], path[1:]...)
	}

	return nil
}

// texts are the strings that a path leads to.
func texts(v any, path ...string) (all []string) {
	for _, one := range values(v, path...) {
		if s, ok := one.(string); ok {
			all = append(all, s)
		}
	}
	return all
}

// text is the first of texts.
func text(v any, path ...string) string {
	for _, s := range texts(v, path...) {
		return s
	}
	return ""
}

// code is a code in a system.
type code struct{ system, code string }

func codes(v any, path ...string) (all []code) {
	for _, one := range values(v, path...) {
		all = append(all, code{text(one, "system"), text(one, "code")})
	}
	return all
}
