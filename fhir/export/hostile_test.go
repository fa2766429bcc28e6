package export_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"fhirdest.example/fhir/async/asyncenv"
)

// hostile are values that no parameter has a meaning for.
var hostile = []string{
	"", " ", ",", ",,,,", "?", "&", "=", ".", "..", "../../etc/passwd", "/", "*", "%", "%00", "\x00", "\n", "\r\nX: y",
	"\u202e", "\U0010ffff", "\xff\xfe", "null", "-1", "9999999999999999999999", "0000-00-00", "2020-02-30",
	"2020-01-01T00:00:00", "2020-01-01T25:00:00Z", "9999-12-31T23:59:59.999999999999Z", "Patient?", "Patient?=",
	"Patient?_id", "Patient?_id=", "?_id=x", "Patient?_id=x?_id=y", "Patient?_has:Observation:patient:code=x",
	"Patient?organization.name=x", "Patient?_include=*", "Patient?_count=-1", "Patient?_sort=name", "Patient?_filter=x",
	"Patient?name:contains=" + "a%2Cb", "Patient?_lastUpdated=gt", "Patient?_lastUpdated=gt0000",
	"Observation?value-quantity=ap1e999", "Observation?value-quantity=1|||", "Observation?date=sa2020-13",
	"Patient?birthdate=ge1970%00", "Patient.", ".name", "Patient.name.given", "Patient.name[0]", "Patient.value[x]",
	"Resource.id", "DomainResource.text", "id", "meta", "resourceType", "text", "contained",
	strings.Repeat("Patient,", 2000), strings.Repeat("a", 9000), strings.Repeat("Patient?name=x,", 500),
	strings.Repeat("(", 500), "Patient?name=" + strings.Repeat("\\,", 1000),
}

// Whatever a parameter holds, the request is refused as the client's fault, or an
// export that ends; and the next export finds what it would have found before.
func TestHostileParameters(t *testing.T) {
	e := newEnv(t, 1)
	before := exported(t, e, "GET", "/$export?_type=Patient", asyncenv.All, "")
	names := []string{
		"_typeFilter", "_type", "_elements", "_since", "_until", "_outputFormat", "includeAssociatedData", "patient",
		"organizeOutputBy", "_format",
	}
	paths := []string{"/$export", "/Patient/$export"}

	for _, name := range names {
		for i, value := range hostile {
			query := name + "=" + url.QueryEscape(value)
			if i%2 == 0 { // as it is, as far as a request line can have it
				query = name + "=" + unescaped.Replace(value)
			}
			path := paths[i/2%2] + "?" + query

			w := e.Do("GET", path, asyncenv.All, "", "Prefer", "respond-async")
			switch at := w.Header().Get("Content-Location"); {
			case w.Code == http.StatusAccepted:
				if w := e.Wait(at, asyncenv.All); w.Code != http.StatusOK {
					t.Errorf("%.200q: its export: %d %.300s", path, w.Code, w.Body)
				}
				if w := e.Do("DELETE", at, asyncenv.All, ""); w.Code != http.StatusAccepted {
					t.Errorf("%.200q: removed: %d", path, w.Code)
				}
			case w.Code < 400 || w.Code >= 500 || !strings.Contains(w.Body.String(), "OperationOutcome"):
				t.Errorf("%.200q: %d %.300s", path, w.Code, w.Body)
			}
		}
	}

	same(t, exported(t, e, "GET", "/$export?_type=Patient", asyncenv.All, "").lines, before.lines)
}

// unescaped leaves out what ends a request line.
var unescaped = strings.NewReplacer(" ", "%20", "\n", "%0A", "\r", "%0D", "\x00", "%00", "#", "%23")

// A part of a file is served as it is in the file, and one that the file does not have
// is refused as FHIR refuses, with how long the file is.
//
// Covers: ER-18
func TestPartsOfFiles(t *testing.T) {
	e := newEnv(t, 3)
	m := exported(t, e, "GET", "/$export?_type=Patient", asyncenv.All, "")
	file := m.Output[0].URL
	whole := e.Do("GET", file, asyncenv.All, "").Body.String()
	length := len(whole)

	for name, c := range map[string]struct {
		part   string
		status int
		want   string
	}{
		"from a byte on":      {"bytes=10-", 206, whole[10:]},
		"the last bytes":      {"bytes=-5", 206, whole[length-5:]},
		"some":                {"bytes=1-3", 206, whole[1:4]},
		"behind the end":      {fmt.Sprintf("bytes=%d-", length), 416, ""},
		"far behind the end":  {"bytes=99999999999-", 416, ""},
		"no number":           {"bytes=x-y", 416, ""},
		"its end comes first": {"bytes=9-3", 416, ""},
	} {
		t.Run(name, func(t *testing.T) {
			for _, encoding := range []string{"identity", "gzip"} {
				w := e.Do("GET", file, asyncenv.All, "", "Range", c.part, "Accept-Encoding", encoding)
				h := w.Header()
				if w.Code != c.status || h.Get("Cache-Control") != "no-store" || h.Get("Content-Range") == "" {
					t.Fatalf("%d %v", w.Code, h)
				}
				if c.status == http.StatusPartialContent {
					if w.Body.String() != c.want {
						t.Errorf("%.100q, want %.100q", w.Body, c.want)
					}
					continue
				}

				if h.Get("Content-Range") != fmt.Sprintf("bytes */%d", length) ||
					!strings.HasPrefix(h.Get("Content-Type"), "application/fhir+json") ||
					!strings.HasPrefix(w.Body.String(), `{"resourceType":"OperationOutcome"`) {
					t.Errorf("%v %s", h, w.Body)
				}
			}
		})
	}
}

// Ids of jobs and names of files that never were look alike, whatever they are.
func TestHostileJobs(t *testing.T) {
	e := newEnv(t, 1)
	at := e.Begin("GET", "/$export?_type=Patient", asyncenv.All, "")
	e.Wait(at, asyncenv.All)
	own := at[strings.LastIndexByte(at, '/')+1:]

	for _, id := range []string{
		"x", "0", strings.ToUpper(own) + "0", own[:31], own + "0", own + "%00", "%2e%2e", own + "%2F..%2F" + own,
		strings.Repeat("a", 5000), "request", "%ff", own + ".",
	} {
		for _, rest := range []string{"", "/Patient.1.ndjson", "/result", "/..%2Fjobs.bolt", "/%2e%2e"} {
			for _, method := range []string{"GET", "DELETE", "HEAD"} {
				w := e.Do(method, asyncenv.Base+"/_jobs/"+id+rest, asyncenv.All, "")
				if !slices.Contains([]int{400, 404, 405}, w.Code) {
					t.Errorf("%s %.80s%s: %d %s", method, id, rest, w.Code, w.Body)
				}
			}
		}
	}

	if w := e.Do("GET", at+"/Patient.1.ndjson", asyncenv.All, ""); w.Code != http.StatusOK {
		t.Errorf("its own, after all that: %d", w.Code)
	}
}
