package fhir_test

import (
	"strings"
	"testing"
)

func TestPreferIsReadAsRFC7240Says(t *testing.T) {
	w := newEnv(t, 0)
	for prefer, empty := range map[string]bool{
		`return=minimal`:                  true,
		`return="minimal"`:                true,
		`return = minimal`:                true,
		`handling=strict, return=minimal`: true,
		`x; return=representation`:        false,
		`return=`:                         false,
	} {
		t.Run(prefer, func(t *testing.T) {
			if got := w.do("POST", "/Patient", everything, anna, "Prefer",
				prefer).want(201).Body.Len() == 0; got != empty {
				t.Errorf("%s: empty %v", prefer, got)
			}
		})
	}
}

func TestAllowTellsWhatIsNeverWritten(t *testing.T) {
	w := newEnv(t, 0)
	for path, writes := range map[string]bool{"/AuditEvent": false, "/AuditEvent/x": false, "/Patient/x": true} {
		t.Run(path, func(t *testing.T) {
			if got := strings.Contains(w.do("OPTIONS", path, "", "").want(204).Header().Get("Allow"),
				"PUT"); got != writes {
				t.Errorf("%s: PUT %v", path, got)
			}
		})
	}
}

func TestVersionsHaveOneNameEach(t *testing.T) {
	w := newEnv(t, 0)
	made := w.do("POST", "/Patient", everything, anna).want(201)
	w.get(made.location()+"/_history/1", everything).want(200)
	w.get(made.location()+"/_history/01", everything).want(404)
}

// R4 search, "Modifiers": one that is not known is refused, however lenient
// the handling: left out, it would turn what is asked round.
func TestModifiersAreKnownOrRefused(t *testing.T) {
	w := newEnv(t, 1)
	for _, q := range []string{
		"code:in=http://e.test/vs", "code:not-in=x", "code:below=x", "date:not=2020", "subject:Nonsense=x", "subject:below=x", "_id:in=x", "value-string:fuzzy=x", "status:text=x",
		"patient.gender:in=x", "value-quantity:approx=5", "combo-code-value-quantity:not=a$5",
	} {
		for _, prefer := range []string{"", "handling=lenient", "handling=strict"} {
			a := w.get("/Observation?"+q, everything, "Prefer", prefer).want(400)
			if !strings.Contains(a.Body.String(), "not-supported") {
				t.Errorf("%s: %s", q, a.Body)
			}
		}
	}

	w.get("/Patient?_has:Observation:patient:code:in=x", everything).want(400)
	w.get("/Observation?code:not=x&subject:Patient=p0001&status:missing=false", everything).want(200)
}

// A count has a total, whatever _total says.
func TestCountsAreTotals(t *testing.T) {
	w := newEnv(t, 1)
	for _, q := range []string{
		"_summary=count", "_count=0", "_total=none&_summary=count", "_total=none&_count=0",
		"_total=estimate&_count=0",
	} {
		if b := w.get("/Patient?"+q, everything).bundle(); b.Total == nil || *b.Total != 1 || len(b.Entry) != 0 {
			t.Errorf("%s: %+v", q, b)
		}
	}
}

func TestControlsHaveNoModifiers(t *testing.T) {
	w := newEnv(t, 0)
	for _, q := range []string{"_sort:desc=name", "_count:x=1", "_total:x=none", "_elements:not=name"} {
		w.get("/Patient?"+q, everything, "Prefer", "handling=strict").want(400)
	}
}

// A parameter that not all types searched have is refused, in lenient handling
// too: left out, it would give everything.
func TestSearchesOfTheSystemHaveCommonParameters(t *testing.T) {
	w := newEnv(t, 1)
	for query, status := range map[string]int{
		"?name=x": 400,
		"?_type=Patient,Observation&patient=p0001": 400,
		"?_type=Patient&name=x":                    200,
		"?_type=Patient,Observation&_id=p0001":     200,
		"?_lastUpdated=gt2000":                     200,
		"?_count=1&_format=json":                   200,
	} {
		t.Run(query, func(t *testing.T) {
			if a := w.get(query, everything).want(status); a.Body.Len() > 1<<20 {
				t.Errorf("%s: %d bytes", query, a.Body.Len())
			}
		})
	}
}
