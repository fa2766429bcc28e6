package fhir_test

import (
	"regexp"
	"strings"
	"testing"

	"fhirdest.example/fhir/sample"
	"fhirdest.example/fhir/view"
)

const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

// Covers: FS-806, case 258
func TestAPersonLooks(t *testing.T) {
	w := newEnv(t, 3)
	patient := "/Patient/" + sample.PatientID(0)
	href := regexp.MustCompile(`href="([^"]*)"`)

	for _, c := range []struct {
		path, accept, shows string
		status              int
	}{
		{patient, browser, "<h2>Narrative</h2>", 200},
		{patient + "?_format=html", "application/fhir+json", "<h2>Elements</h2>", 200},
		{patient + "?_format=text/html", "", "birth date", 200},
		{"/Observation?patient=" + sample.PatientID(0) + "&_count=5", browser, "next", 200},
		{patient + "/_history", browser, "History", 200},
		{"/metadata", browser, "CapabilityStatement", 200},
		{"/Patient/nobody", browser, "OperationOutcome", 404},
		{"/Patient?birthdate=never", browser, "OperationOutcome", 400},
	} {
		t.Run(c.path, func(t *testing.T) {
			a := w.get(c.path, everything, "Accept", c.accept)
			page := a.Body.String()
			if a.Code != c.status || a.Header().Get("Content-Type") != view.MediaType ||
				!strings.Contains(page, c.shows) {
				t.Errorf("%s: %d %s %.300s", c.path, a.Code, a.Header(), page)
			}
			if a.Header().Get("Content-Security-Policy") != view.Policy ||
				a.Header().Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s: headers %v", c.path, a.Header())
			}

			for _, m := range href.FindAllStringSubmatch(page, -1) {
				if !strings.HasPrefix(m[1], publicBase+"/") {
					t.Errorf("%s: a link leads to %s", c.path, m[1])
				}
			}
		})
	}

	for _, accept := range []string{
		"*/*",
		"application/json",
		"application/fhir+json, text/html",
		"text/html;q=0.5, application/fhir+json",
	} {
		if a := w.get(patient, everything, "Accept", accept).want(200); !strings.HasPrefix(a.Body.String(), "{") {
			t.Errorf("Accept %q brings a page", accept)
		}
	}

	if a := w.get("/Binary/"+sample.PatientID(0)+"-note-1", everything, "Accept",
		browser).want(200); a.Header().Get("Content-Type") == view.MediaType {
		t.Error("a Binary is shown as a page")
	}
}

// TestSeedHasAPast: the sandbox's population has what was deleted and what
// has several versions.
func TestSeedHasAPast(t *testing.T) {
	w := newEnv(t, 1)
	id := sample.PatientID(0)
	w.get("/AllergyIntolerance/"+id+"-allergy-9", everything).want(410)
	w.get("/AllergyIntolerance/"+id+"-allergy-9/_history/1", everything).want(200)
	weighed := "/Observation/" + id + "-weighed-1"
	if a := w.get(weighed, everything).want(200); a.Header().Get("ETag") != `W/"6"` ||
		!strings.Contains(a.Body.String(), `"value":80.50`) {
		t.Errorf("%v %s", a.Header(), a.Body)
	}

	w.get(weighed+"/_history/4", everything).want(410)
	if n := len(w.get(weighed+"/_history", everything).bundle().Entry); n != 6 {
		t.Errorf("%d versions", n)
	}
	if n := *w.get("/AllergyIntolerance?patient="+id, everything).bundle().Total; n != 1 {
		t.Errorf("%d allergies are found", n)
	}
}
