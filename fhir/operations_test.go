package fhir_test

import (
	"strings"
	"testing"
)

func TestEverythingByPost(t *testing.T) {
	w := newEnv(t, 1)
	const path = "/Patient/p0001/$everything"
	got := w.get(path+"?_count=2&_type=Patient,Observation", everything).bundle()
	params := `{"resourceType":"Parameters","parameter":[{"name":"_count","valueInteger":2},{"name":"_type","valueCode":"Patient,Observation"}]}`
	posted := w.do("POST", path, everything, params).bundle()
	if *got.Total != *posted.Total || len(posted.Entry) != 2 || got.link("self") != posted.link("self") {
		t.Errorf("GET %d, POST %d of %d, %s", *got.Total, *posted.Total, len(posted.Entry), posted.link("self"))
	}

	if whole := w.do("POST", path, everything, ``).bundle(); *whole.Total <= *posted.Total {
		t.Errorf("%d of %d", *whole.Total, *posted.Total)
	}
	w.do("POST", path, everything, anna).want(400)
	w.do("POST", path, everything, "x", "Content-Type", "text/plain").want(415)
	w.get(path+"?foo=1", everything).want(200)
	w.get(path+"?foo=1", everything, "Prefer", "handling=strict").want(400)
	if none := w.get(path+"?_since=2099-01-01T00:00:00Z",
		everything).want(200); strings.Contains(none.Body.String(), `"entry"`) {
		t.Errorf("an empty array: %s", none.Body)
	}
}

func TestSelfOfAHistoryIsWhatWasAsked(t *testing.T) {
	w := newEnv(t, 1)
	if got := w.get("/Patient/_history?_count=1&_since=2020",
		everything).bundle().link("self"); got != publicBase+"/Patient/_history?_count=1&_since=2020" {
		t.Error(got)
	}
}

func TestValidateSaysWhatItDoesNotJudge(t *testing.T) {
	w := newEnv(t, 0)
	for query, said := range map[string]bool{"": false, "?profile=http://e.test/p": true, "?mode=delete": true} {
		t.Run(query, func(t *testing.T) {
			if got := strings.Contains(
				w.do("POST", "/Patient/$validate"+query, everything, anna).want(200).Body.String(),
				"not-supported"); got != said {
				t.Errorf("%q: said %v", query, got)
			}
		})
	}
}
