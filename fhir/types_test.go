package fhir_test

import (
	"strings"
	"testing"
)

// pages gives the types and ids on all pages of a Bundle, in order.
func (w *env) pages(path, token string) (all []string) {
	w.t.Helper()
	for next := path; next != ""; {
		b := w.get(strings.TrimPrefix(next, publicBase), token).bundle()
		for _, e := range b.Entry {
			all = append(all, strings.TrimPrefix(e.FullURL, publicBase+"/"))
		}
		next = b.link("next")
	}
	return all
}

// _type says what a search or history of the whole system is about: each type
// once, and on every page.
func TestTypesOfTheSystem(t *testing.T) {
	w := newEnv(t, 2)
	const want = "Patient/p0001 Patient/p0002"
	for _, path := range []string{
		"?_type=Patient&_count=1",
		"?_type=Patient,Patient&_count=5",
		"?_type=Patient&_type=Patient&_count=1",
		"/_search?_type=Patient&_count=1",
	} {
		if got := strings.Join(w.pages(path, everything), " "); got != want {
			t.Errorf("%s: %s", path, got)
		}
	}

	if b := w.get("?_type=Patient,Patient", everything).bundle(); *b.Total != 2 {
		t.Errorf("a total of %d", *b.Total)
	}

	for _, path := range []string{"/_history?_type=Patient&_count=1", "/_history?_type=Patient"} {
		if got := strings.Join(w.pages(path, everything), " "); got != "Patient/p0002 Patient/p0001" {
			t.Errorf("%s: %s", path, got)
		}
	}

	if got := w.pages("?_type=Patient,Practitioner&_count=1", everything); len(got) < 3 ||
		strings.Contains(strings.Join(got, " "), "Observation") {
		t.Errorf("two types: %v", got)
	}
}

// A page is written as the one before it was asked for.
func TestPageLinksKeepTheForm(t *testing.T) {
	w := newEnv(t, 2)
	xml := []string{"Accept", "application/fhir+xml"}
	for _, path := range []string{
		"/Observation?_count=1&_format=json",
		"/Observation/_history?_count=1&_format=json",
		"/Patient/p0001/$everything?_count=1&_format=json",
	} {
		next := w.get(path, everything, xml...).bundle().link("next")
		if b := w.get(strings.TrimPrefix(next, publicBase), everything, xml...).bundle(); len(b.Entry) != 1 {
			t.Errorf("%s: %d entries", path, len(b.Entry))
		}
	}

	next := w.get("/Observation?_count=1&_pretty=true", everything).bundle().link("next")
	if got := w.get(strings.TrimPrefix(next, publicBase),
		everything).want(200).Body.String(); !strings.Contains(got, "\n  ") {
		t.Error("the second page is not pretty")
	}
}

// A _sort of which one key is not known is left out whole, on every page.
func TestSortIsDoneWholeOrNot(t *testing.T) {
	w := newEnv(t, 2)
	plain := w.pages("/Observation?_count=9", everything)
	b := w.get("/Observation?_count=9&_sort=-_id,nonsense", everything).bundle()
	if strings.Contains(b.link("self"), "_sort") || b.ids("match")[0] != plain[0] {
		t.Errorf("self %s begins with %s", b.link("self"), b.ids("match")[0])
	}
	w.get("/Observation?_sort="+strings.Repeat("_id,", 5)+"_id&_sort=_id", everything).want(400)
}
