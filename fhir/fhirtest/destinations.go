package fhirtest

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/trail"
)

// auditOfTwo: what one destination records the other reads, finds, lists and verifies
// as its own, at once; and removes when it is too old.
func auditOfTwo(t *testing.T, sub Subject) {
	if sub.Second == nil {
		return // the store is one destination's
	}
	both := []fhir.Store{sub.Store, sub.Second(t)}
	const n = 40
	for i := range n {
		update(t, both[i%2], func(c fhir.Change) error {
			return c.Append(t.Context(), []trail.Record{record(i)})
		})
		if i%7 == 0 {
			put(t, both[1-i%2], Entry(t, 0, "Observation", fmt.Sprint("o", i), 1, "final"))
		}
	}

	var docs []uint64
	var chains []trail.Verified
	for i, s := range both {
		view(t, s, func(sn fhir.Snapshot) {
			all := recordDocs(t, sn)
			if len(all) != n || i > 0 && !slices.Equal(all, docs) {
				t.Fatalf("destination %d has the records %v, the other %v", i, all, docs)
			}
			docs = all

			oneByOne(t, sn.Audit(), docs)
			indexed(t, sn.Audit(), docs)
			foundAndRead(t, sn, docs)
		})

		verified := verify(t, s, nil)
		if i > 0 && !reflect.DeepEqual(verified, chains) {
			t.Errorf("destination %d verifies %+v, the other %+v", i, verified, chains)
		}
		chains = verified
	}
	if len(chains) != 2 || chains[0].Records != n/2 || chains[1].Records != n/2 {
		t.Errorf("%+v", chains)
	}

	removed := 0
	for gone := 1; gone > 0; removed += gone {
		gone = expire(t, both[1], record(30).At, 10)
	}
	if removed != 30 {
		t.Errorf("%d records were removed", removed)
	}
	for _, s := range both {
		verify(t, s, nil)
		view(t, s, func(sn fhir.Snapshot) {
			if left := recordDocs(t, sn); !slices.Equal(left, docs[30:]) {
				t.Errorf("the records %v are left, want %v", left, docs[30:])
			}
		})
	}
}

// foundAndRead: searches find the records of both, and each is read by its id.
func foundAndRead(t *testing.T, sn fhir.Snapshot, docs []uint64) {
	t.Helper()
	got := found(t, sn, search.Pair{Name: "action", Value: "R"})
	slices.Sort(got)
	if !slices.Equal(got, docs) {
		t.Errorf("found %v, want %v", got, docs)
	}
	if got := found(t, sn, search.Pair{Name: "patient", Value: "Patient/p7"}); !slices.Equal(got, docs[7:8]) {
		t.Errorf("found %v of a patient, want %v", got, docs[7:8])
	}

	for _, doc := range docs {
		if at, ok, err := sn.Find(t.Context(), "AuditEvent", trail.ID(doc)); at != doc || !ok || err != nil {
			t.Errorf("AuditEvent/%s is %d, %v, %v", trail.ID(doc), at, ok, err)
		}
		if e, ok, err := sn.Version(t.Context(), doc, 1); !ok || err != nil || e.ID != trail.ID(doc) {
			t.Errorf("version 1 of AuditEvent/%s: %+v, %v, %v", trail.ID(doc), e, ok, err)
		}
	}
}
