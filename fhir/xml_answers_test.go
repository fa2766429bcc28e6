package fhir_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/fhir/xml"
)

// inXML reads an answer in XML, and returns its JSON in a form that does not
// depend on the order of members.
func (a answer) inXML(status int) string {
	a.t.Helper()
	if a.Code != status {
		a.t.Fatalf("status %d, want %d: %s", a.Code, status, a.Body)
	}
	if got := a.Header().Get("Content-Type"); got != "application/fhir+xml; charset=utf-8" {
		a.t.Fatalf("%d is %s: %.300s", status, got, a.Body)
	}
	if !strings.Contains(a.Header().Get("Vary"), "Accept") {
		a.t.Errorf("Vary is %q", a.Header().Get("Vary"))
	}

	body, err := xml.Read(a.Body.Bytes())
	if err != nil {
		a.t.Fatalf("%v: %.2000s", err, a.Body)
	}
	return sorted(a.t, body)
}

func sorted(t testing.TB, body []byte) string {
	t.Helper()
	v := jsontext.Value(strings.Clone(string(body)))
	if err := v.Format(jsontext.ReorderRawObjects(true), jsontext.CanonicalizeRawFloats(false),
		jsontext.CanonicalizeRawInts(false)); err != nil {
		t.Fatalf("%v: %.2000s", err, body)
	}
	return string(v)
}

var asksXML = []string{"Accept", "application/fhir+xml"}

// What is read in XML is what is read in JSON: as one resource, in every kind of
// Bundle, cut down or not, and refused.
//
// Covers: ER-05
func TestReadingInXMLIsReadingInJSON(t *testing.T) {
	w := newEnv(t, 2)
	w.do("PUT", "/Patient/gone", everything, strings.Replace(anna, `"id":"x"`, `"id":"gone"`, 1)).want(201)
	w.do("DELETE", "/Patient/gone", everything, "").want(204)
	for path, status := range map[string]int{
		"/metadata":                                  200,
		"/Patient/p0001":                             200,
		"/Patient/p0001?_summary=true":               200,
		"/Patient/p0001?_summary=text":               200,
		"/Patient/p0001?_summary=data":               200,
		"/Patient/p0001?_elements=name,birthDate":    200,
		"/Patient/p0001/_history":                    200,
		"/Patient/p0001/_history/1":                  200,
		"/Patient/_history?_count=3":                 200,
		"/_history?_count=3":                         200,
		"/Patient":                                   200,
		"/Patient?_summary=count":                    200,
		"/Patient?_id=none":                          200,
		"/Patient?_id=none&nonsense=1":               200,
		"/Observation?_count=50&_include=*":          200,
		"/Observation?_count=5&_elements=code":       200,
		"/?_type=Patient,Practitioner":               200,
		"/Patient/p0001/Observation?_count=5":        200,
		"/Patient/p0001/$everything":                 200,
		"/Patient/none":                              404,
		"/Patient/gone":                              410,
		"/Nonsense/1":                                404,
		"/Patient/p0001/nothing":                     404,
		"/Patient?name=%ff":                          400,
		"/Patient?birthdate=x":                       400,
		"/Patient?nonsense=1&_sort=-x&_total=maybe":  400,
		"/Patient/p0001/_history/1/nothing":          404,
		"/Patient/p0001?access_token=x":              400,
		"/Patient?_page=nonsense":                    410,
		"/Patient/p0001/$everything?_since=nonsense": 400,
	} {
		t.Run(path, func(t *testing.T) {
			w.t = t
			path = strings.Replace(path, "/?", "?", 1)
			want := sorted(t, w.get(path, everything).want(status).Body.Bytes())
			if got := w.get(path, everything, asksXML...).inXML(status); clean(got) != clean(want) {
				t.Errorf("in XML\n%.2000s\nin JSON\n%.2000s", got, want)
			}

			head := w.do("HEAD", path, everything, "", asksXML...)
			again := w.get(path, everything, asksXML...)
			if strings.Contains(again.Body.String(), "_page=") {
				return // sealed anew each time
			}
			if head.Body.Len() > 0 || head.Header().Get("Content-Length") != again.Header().Get("Content-Length") {
				t.Errorf("HEAD: %d bytes, %v; GET: %v", head.Body.Len(), head.Header(), again.Header())
			}
		})
	}
}

// sealedLink is what differs between two answers to one question.
var sealedLink = regexp.MustCompile(`_page=[A-Za-z0-9_-]+`)

func clean(body string) string { return sealedLink.ReplaceAllString(body, "_page=") }

// Every refusal is in XML as well, whoever makes it.
func TestRefusalsAreInXML(t *testing.T) {
	w := newEnv(t, 0)
	w.do("PUT", "/Patient/a", everything, strings.Replace(anna, `"id":"x"`, `"id":"a"`, 1)).want(201)
	xmlBody := `<Patient xmlns="http://hl7.org/fhir"><id value="a"/></Patient>`
	send := func(token, method, path, body string, headers ...string) answer {
		return w.do(method, path, token, body, append(headers, asksXML...)...)
	}
	for name, a := range map[string]answer{
		"401":            send("", "GET", "/Patient/a", ""),
		"401 bad token":  send("bad", "GET", "/Patient/a", ""),
		"403":            send("system/Observation.rs", "GET", "/Patient/a", ""),
		"405":            send(everything, "DELETE", "/", ""),
		"405 read only":  send(everything, "POST", "/AuditEvent", xmlBody, "Content-Type", "application/fhir+xml"),
		"404":            send(everything, "GET", "!/elsewhere", ""),
		"404 slashes":    send("", "GET", "!/acme/fhir//Patient", ""),
		"400 structure":  send(everything, "POST", "/Patient", "<Patient/>", "Content-Type", "text/xml"),
		"400 JSON":       send(everything, "POST", "/Patient", "{"),
		"400 other id":   send(everything, "PUT", "/Patient/b", xmlBody, "Content-Type", "application/xml"),
		"400 other type": send(everything, "POST", "/Basic", xmlBody, "Content-Type", "application/fhir+xml"),
		"412":            send(everything, "PUT", "/Patient/a", xmlBody, "Content-Type", "application/fhir+xml", "If-Match", `W/"9"`),
		"415":            send(everything, "POST", "/Patient", "x", "Content-Type", "text/plain"),
		"415 compressed": send(everything, "POST", "/Patient", "x", "Content-Encoding", "gzip"),
		"415 XML Patch":  send(everything, "PATCH", "/Patient/a", "<diff/>", "Content-Type", "application/xml-patch+xml"),
		"413":            send(everything, "POST", "/Patient", strings.Repeat(" ", 33<<20)),
		"422": send(everything, "POST", "/Patient", `<Patient xmlns="http://hl7.org/fhir"><meta><tag><system value="x"/>`+
			`<code value="SUBSETTED"/></tag></meta></Patient>`, "Content-Type", "application/fhir+xml"),
		"400 search form": send(everything, "POST", "/Patient/_search", "birthdate=x", "Content-Type", "application/x-www-form-urlencoded"),
	} {
		t.Run(name, func(t *testing.T) {
			a.t = t
			got := a.inXML(statusIn(name))
			if !strings.Contains(got, `"resourceType":"OperationOutcome"`) || !strings.Contains(got, `"diagnostics":"`) {
				t.Error(got)
			}
		})
	}
}

// statusIn reads the status that a name begins with.
func statusIn(name string) int {
	return int(name[0]-'0')*100 + int(name[1]-'0')*10 + int(name[2]-'0')
}

// The form of a search may name the format, and _pretty breaks lines in both.
func TestFormsOfSearchesAndPrettyXML(t *testing.T) {
	w := newEnv(t, 0)
	form := []string{"Content-Type", "application/x-www-form-urlencoded"}
	w.do("POST", "/Patient/_search", everything, "_format=text/xml&name=x", form...).inXML(200)
	w.do("POST", "/_search?_format=xml", everything, "_type=Patient", form...).inXML(200)
	if got := w.get("/Patient?_format=xml&_pretty=true", everything).inXML(200); !strings.Contains(got, "Bundle") {
		t.Error(got)
	}
	if got := w.get("/Patient?_format=xml&_pretty=true", everything).Body.String(); !strings.HasPrefix(got,
		"<Bundle xmlns=\"http://hl7.org/fhir\">\n  <type value=\"searchset\"/>\n") {
		t.Error(got)
	}
}

// The weak ETag is that of the version in every format (R4 http 3.1.0.1.3); what
// is not a version has one for each.
func TestETagsOfBothFormats(t *testing.T) {
	w := newEnv(t, 0)
	w.do("PUT", "/Patient/a", everything, strings.Replace(anna, `"id":"x"`, `"id":"a"`, 1)).want(201)
	a := w.get("/Patient/a", everything, asksXML...)
	a.inXML(200)
	if a.Header().Get("ETag") != `W/"1"` || a.Header().Get("Last-Modified") == "" {
		t.Errorf("%v", a.Header())
	}

	same := w.get("/Patient/a", everything, "Accept", "application/fhir+xml", "If-None-Match", `W/"1"`).want(304)
	if same.Body.Len() > 0 || !strings.Contains(same.Header().Get("Vary"), "Accept") {
		t.Errorf("304 with %d bytes, %v", same.Body.Len(), same.Header())
	}
	w.get("/Patient/a", everything, "Accept", "application/fhir+xml", "If-None-Match", `W/"2"`).inXML(200)

	plain := w.get("/metadata", "").want(200).Header().Get("ETag")
	w.get("/metadata", "", "Accept", "application/fhir+xml", "If-None-Match", plain).inXML(200)
	own := w.get("/metadata", "", asksXML...).Header().Get("ETag")
	w.get("/metadata", "", "Accept", "application/fhir+xml", "If-None-Match", own).want(http.StatusNotModified)
	w.get("/metadata", "", "If-None-Match", own).want(200)
	w.get("/metadata", "", "Accept", "text/html", "If-None-Match", plain).want(200)
}

// Each form of the statement is made once, and is whole for the second who asks.
func TestStatementIsTheSameEachTime(t *testing.T) {
	w := newEnv(t, 0)
	seen := map[string]string{}
	for _, query := range []string{
		"_format=json", "_format=xml", "_format=html", "_format=json&_pretty=true", "_format=xml&_pretty=true",
		"_format=application/fhir%2Bxml;%20fhirVersion=4.0", "_format=application/fhir%2Bjson;%20fhirVersion=4.0",
	} {
		t.Run(query, func(t *testing.T) {
			w.t = t
			first := w.get("/metadata?"+query, "").want(200)
			second := w.get("/metadata?"+query, "").want(200)
			if first.Body.String() != second.Body.String() {
				t.Error("the bodies differ")
			}
			for _, name := range []string{"Content-Type", "Content-Security-Policy", "ETag", "Cache-Control", "Vary"} {
				if a, b := first.Header().Get(name), second.Header().Get(name); a != b || a == "" {
					t.Errorf("%s: %q, then %q", name, a, b)
				}
			}

			key := first.Header().Get("Content-Type") + first.Body.String()
			if other := seen[key]; other != "" {
				t.Errorf("the same answer as for %s", other)
			}
			seen[key] = query
		})
	}
}

func TestCapabilityStatementListsBothFormats(t *testing.T) {
	w := newEnv(t, 0)
	const formats = `"format":["application/fhir+json","json","application/fhir+xml","xml"]`
	if got := w.get("/metadata", "", asksXML...).inXML(200); !strings.Contains(got, formats) {
		t.Errorf("%.600s", got)
	}
}
