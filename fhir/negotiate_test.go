package fhir_test

import (
	"net/http"
	"strings"
	"testing"
)

func TestFormOfTheAnswer(t *testing.T) {
	w := newEnv(t, 0)
	w.do("PUT", "/Patient/a", everything, strings.Replace(anna, `"id":"x"`, `"id":"a"`, 1)).want(201)

	const plain, versioned, page = "application/fhir+json; charset=utf-8", "application/fhir+json; charset=utf-8; fhirVersion=4.0", "text/html; charset=utf-8"
	const asXML, versionedXML = "application/fhir+xml; charset=utf-8", "application/fhir+xml; charset=utf-8; fhirVersion=4.0"
	for _, tc := range []struct{ accept, query, media string }{
		{"", "", plain}, {" , ,", "", plain},
		{"application/fhir+xml, application/fhir+json;q=0.5", "", asXML},
		{"application/fhir+xml;q=0.4, application/fhir+json;q=0.5", "", plain},
		{"application/fhir+xml;q=0.9, */*;q=0.8", "", asXML},
		{"application/fhir+xml;q=0.8, */*;q=0.9", "", plain},
		{"*/*, application/fhir+xml", "", asXML},
		{"application/fhir+xml, application/fhir+json", "", asXML},
		{"application/fhir+json, application/fhir+xml", "", plain},
		{"application/fhir+xml", "", asXML},
		{"application/xml", "", asXML},
		{"text/xml", "", asXML},
		{"application/xml+fhir", "", asXML},
		{"Application/FHIR+XML ; Q=0.1", "", asXML},
		{"application/fhir+json;q=0, */*", "", asXML},
		{"application/*;q=0.5, application/json;q=0.1", "", asXML},
		{"*/*", "", plain},
		{"application/*", "", plain},
		{"text/*", "", plain},
		{"application/fhir+xml;q=0", "", ""},
		{"application/fhir+xml;q=2", "", ""},
		{"application/fhir+xml;fhirVersion=3.0", "", ""},
		{"application/fhir+xml;fhirVersion=4.0", "", versionedXML},
		{"application/fhir+turtle, application/fhir+xml;q=0.1", "", asXML},
		{"application/fhir+json", "?_format=xml", asXML},
		{"", "?_format=text/xml", asXML},
		{"", "?_format=application/xml", asXML},
		{"", "?_format=application/fhir%2Bxml", asXML},
		{"", "?_format=application/fhir+xml", asXML},
		{"", "?_format=application/fhir%2Bxml;%20fhirVersion=4.0", versionedXML},
		{"application/fhir+xml", "?_format=ttl", ""},
		{"application/fhir+json;q=0", "", ""}, {"image/png", "", ""},
		{
			"application/fhir+json; fhirVersion=4.0",
			"",
			versioned,
		}, {`application/json;fhirVersion="4.0"`, "", versioned},
		{"application/fhir+json; fhirVersion=3.0", "", ""},
		{"application/fhir+json; fhirVersion=5.0, application/json", "", plain},
		{"application/fhir+xml", "?_format=application/fhir+json", plain},
		{
			"",
			"?_format=application/fhir%2Bjson;%20fhirVersion=4.0",
			versioned,
		}, {"", "?_format=application/fhir+json;%20fhirVersion=3.0", ""},
		{"", "?_format=html", page}, {"text/html, */*;q=0.8", "", page}, {"text/html", "?_format=json", plain},
	} {
		t.Run(tc.accept+tc.query, func(t *testing.T) {
			w.t = t
			a := w.get("/Patient/a"+tc.query, everything, "Accept", tc.accept)
			if tc.media == "" {
				a.want(http.StatusNotAcceptable)
			} else if got := a.want(200).Header().Get("Content-Type"); got != tc.media {
				t.Errorf("Accept %q %s: %s", tc.accept, tc.query, got)
			}
		})
	}
}

// R4 http 3.1.0.1.11: FHIR is UTF-8 and nothing else.
func TestBodiesAreUTF8(t *testing.T) {
	w := newEnv(t, 0)
	for media, status := range map[string]int{
		"application/fhir+json; charset=utf-8": 201, `application/fhir+json;charset="UTF-8"`: 201, "application/json; charset=us-ascii": 201,
		"application/fhir+json; charset=utf-16": 415, "application/fhir+json; charset=iso-8859-1": 415, "application/fhir+json; fhirVersion=4.0; charset=latin1": 415,
	} {
		t.Run(media, func(t *testing.T) {
			w.do("POST", "/Patient", everything, anna, "Content-Type", media).want(status)
		})
	}
}

func TestPrettyIsAParameter(t *testing.T) {
	w := newEnv(t, 0)
	w.do("PUT", "/Patient/a", everything, strings.Replace(anna, `"id":"x"`, `"id":"a"`, 1)).want(201)
	for query, lines := range map[string]bool{
		"_pretty=true":      true,
		"_pretty=false":     false,
		"x_pretty=true":     false,
		"name=_pretty=true": false,
	} {
		t.Run(query, func(t *testing.T) {
			if got := strings.Contains(w.get("/Patient/a?"+query, everything).want(200).Body.String(),
				"\n"); got != lines {
				t.Errorf("%s: lines %v", query, got)
			}
		})
	}
}

// A posted search shapes its answer by its form, as a GET does by its URL.
func TestFormParametersShapeTheAnswer(t *testing.T) {
	w := newEnv(t, 0)
	post := func(form string) answer {
		return w.do("POST", "/Patient/_search", everything, form, "Content-Type", "application/x-www-form-urlencoded")
	}
	post("_format=ttl").want(http.StatusNotAcceptable)
	if got := post("_format=xml").want(200).Header().Get("Content-Type"); !strings.HasPrefix(got,
		"application/fhir+xml") {
		t.Error(got)
	}

	if got := post("_format=html").want(200).Header().Get("Content-Type"); !strings.HasPrefix(got, "text/html") {
		t.Error(got)
	}

	if !strings.Contains(post("_pretty=true").want(200).Body.String(), "\n") {
		t.Error("not pretty")
	}
}

// R4 binary.html: the native form where Accept likes it better, in versions too.
// Covers: FS-601
func TestBinaryIsGivenInTheLikedForm(t *testing.T) {
	w := newEnv(t, 0)
	made := w.do("POST", "/Binary", everything, "\x00hello", "Content-Type", "image/png").want(201)
	for _, path := range []string{made.location(), made.location() + "/_history/1"} {
		for accept, native := range map[string]bool{
			"": false, "image/png": true, "application/fhir+json": false, "application/fhir+json, image/png;q=0.5": false,
			"image/png, application/fhir+json;q=0.1": true,
		} {
			a := w.get(path, everything, "Accept", accept)
			if got := a.want(200).Header().Get("Content-Type") == "image/png"; got != native {
				t.Errorf("%s Accept %q: native %v", path, accept, got)
			}
		}
	}
}
