package fhir_test

import (
	"strings"
	"testing"
)

func TestPreferIsReadAsRFC7240Says(t *testing.T) {
	w := newWorld(t, 0)
	for prefer, empty := range map[string]bool{`return=minimal`: true, `return="minimal"`: true, `return = minimal`: true, `handling=strict, return=minimal`: true, `x; return=representation`: false, `return=`: false} {
		if got := w.do("POST", "/Patient", everything, anna, "Prefer", prefer).want(201).Body.Len() == 0; got != empty {
			t.Errorf("%s: empty %v", prefer, got)
		}
	}
}

func TestAllowTellsWhatIsNeverWritten(t *testing.T) {
	w := newWorld(t, 0)
	for path, writes := range map[string]bool{"/AuditEvent": false, "/AuditEvent/x": false, "/Patient/x": true} {
		if got := strings.Contains(w.do("OPTIONS", path, "", "").want(204).Header().Get("Allow"), "PUT"); got != writes {
			t.Errorf("%s: PUT %v", path, got)
		}
	}
}

func TestVersionsHaveOneNameEach(t *testing.T) {
	w := newWorld(t, 0)
	made := w.do("POST", "/Patient", everything, anna).want(201)
	w.get(made.location()+"/_history/1", everything).want(200)
	w.get(made.location()+"/_history/01", everything).want(404)
}

func TestControlsHaveNoModifiers(t *testing.T) {
	w := newWorld(t, 0)
	for _, q := range []string{"_sort:desc=name", "_count:x=1", "_total:x=none", "_elements:not=name"} {
		w.get("/Patient?"+q, everything, "Prefer", "handling=strict").want(400)
	}
}

// A parameter that not all types searched have is refused, in lenient handling
// too: left out, it would give everything.
func TestSearchesOfTheSystemHaveCommonParameters(t *testing.T) {
	w := newWorld(t, 1)
	for query, status := range map[string]int{"?name=x": 400, "?_type=Patient,Observation&patient=p0001": 400, "?_type=Patient&name=x": 200, "?_type=Patient,Observation&_id=p0001": 200, "?_lastUpdated=gt2000": 200, "?_count=1&_format=json": 200} {
		if a := w.get(query, everything).want(status); a.Body.Len() > 1<<20 {
			t.Errorf("%s: %d bytes", query, a.Body.Len())
		}
	}
}
