package server_test

import (
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	"fhirdest.example/server/servertest"
)

// The material that random requests are made of.
var (
	someMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
	somePaths   = []string{
		"/acme/oauth/register", "/acme/oauth/token", "/acme/oauth/introspect", "/acme/oauth/revoke", "/acme/oauth/jwks", "/acme/oauth/authorize",
		"/acme/fhir/.well-known/udap", "/acme/fhir/.well-known/smart-configuration", "/.well-known/oauth-authorization-server/acme/oauth",
		"/acme/fhir", "/acme/fhir/metadata", "/acme/fhir/Patient", "/acme/fhir/Patient/p0001", "/acme/fhir/Patient/_search", "/acme/fhir/Patient/p0001/_history/1",
		"/acme/fhir/Observation", "/acme/fhir/Binary/x", "/acme/fhir/$export", "/acme/fhir/Patient/p0001/$everything", "/acme/fhir/_history", "/", "/acme",
	}
	someTails = []string{
		"", "", "", "/", "//", "/..", "%00", "%2f", "?", "?community=urn:x", "?_count=-1", "?_count=1e9", "?name=%ff", "?birthdate=ge0000", "?_sort=-x", "?_include=*",
		"?a=b;c=d", "?%zz", "?_format=xml", "?_summary=count", "?_has:Observation:patient:code=x", "?patient:Patient.name=x", "?_id=1,2,3", "?_elements=",
	}
	someTypes = []string{
		"", "application/json", "application/x-www-form-urlencoded", "application/fhir+json",
		"application/json-patch+json", "text/plain", "multipart/form-data", "a/b; charset=x",
		"application/fhir+xml", "text/xml",
		"\x80",
	}
	someBodies = []string{
		"", "{}", "[]", "null", "{", `{"udap":"1","software_statement":"a.b.c"}`, `{"udap":1}`, `{"a":1,"a":2}`, "grant_type=client_credentials&client_assertion=a.b.c&udap=1",
		"a=b&a=c", "%zz", "=", `{"resourceType":"Patient"}`, `{"resourceType":"Bundle","type":"transaction","entry":[{}]}`, `[{"op":"add","path":"/x","value":1}]`,
		strings.Repeat("[", 20000), strings.Repeat(`{"a":`,
			5000), "\x00\xff", `{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET","url":"../../x"}}]}`,
		"token=" + strings.Repeat("x",
			5000), `{"resourceType":"Patient","id":"..","meta":{"versionId":9}}`, "<Patient/>",
		`<Patient xmlns="http://hl7.org/fhir"><active value="true"/></Patient>`,
		`<!DOCTYPE x [<!ENTITY y "z">]><Patient xmlns="http://hl7.org/fhir"><language value="&y;"/></Patient>`,
		strings.Repeat(`<a xmlns="http://hl7.org/fhir">`, 5000),
	}
	someFields = []string{
		"If-Match", "If-None-Match", "If-None-Exist", "If-Modified-Since", "Prefer", "Accept",
		"Accept-Charset", "Range", "Origin", "Cookie", "X-HTTP-Method-Override", "TE", "Trailer", "X-Provenance",
		"Forwarded",
	}
	someValues = []string{
		"*", `W/"1"`, "\"", "x", "return=minimal, handling=strict", "respond-async", "text/html",
		"bytes=0-1", "identifier=x|y&z=%", "application/fhir+xml;q=0.5, */*;q=0",
		"application/fhir+xml", "null", ",,,",
		"Sun, 06 Nov 1994 08:49:37 GMT", strings.Repeat("y", 3000),
	}
)

func pick(r *rand.Rand, from []string) string { return from[r.IntN(len(from))] }

// Whatever a client sends, with a token that allows everything or without one,
// the answer is no 5xx, it is in a language that the endpoint speaks, and it
// has the headers of every answer.
//
// Covers: case 230, case 256, case 263
func TestNothingAClientSendsMakesA5xx(t *testing.T) {
	d := servertest.Start(t, func(w *servertest.Env) { w.Config.Writable = true })
	token := d.Session(d.A, d.Client(d.A, "https://client1.test/app"), "system/*.cruds").Token.Access
	r := rand.New(rand.NewPCG(20, 26))

	for i := range 3000 {
		method, target := pick(r, someMethods), pick(r, somePaths)+pick(r, someTails)
		req, err := http.NewRequest(method, "https://fhir.test/", strings.NewReader(pick(r, someBodies)))
		if err != nil {
			t.Fatal(err)
		}
		path, query, found := strings.Cut(target, "?")
		// as it is, absolute
		req.URL.Opaque, req.URL.RawQuery, req.URL.ForceQuery = "//fhir.test"+path, query, found

		if kind := pick(r, someTypes); kind != "" {
			req.Header.Set("Content-Type", kind)
		}
		for range r.IntN(3) {
			req.Header.Add(pick(r, someFields), pick(r, someValues))
		}
		if r.IntN(3) > 0 {
			req.Header.Set("Authorization", "Bearer "+token)
		}

		res, err := d.HTTP.Do(req)
		if err != nil {
			t.Fatalf("%d: %s %s: %v", i, method, target, err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			t.Fatalf("%d: %s %s: %v", i, method, target, err)
		}

		judge(t, method+" "+target, res, body)
	}
}

func judge(t *testing.T, what string, res *http.Response, body []byte) {
	t.Helper()
	if res.StatusCode >= 500 && res.StatusCode != http.StatusNotImplemented {
		t.Errorf("%s: %d %.300s", what, res.StatusCode, body)
	}
	if res.Header.Get("X-Content-Type-Options") != "nosniff" || res.Header.Get("Strict-Transport-Security") == "" {
		t.Errorf("%s: %d lacks headers: %v", what, res.StatusCode, res.Header)
	}
	if res.StatusCode == http.StatusMethodNotAllowed && res.Header.Get("Allow") == "" {
		t.Errorf("%s: 405 without Allow", what)
	}
	if res.StatusCode < 400 || len(body) == 0 {
		return
	}

	switch kind, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";"); kind {
	case "text/html":
		if csp := res.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") ||
			strings.Contains(csp, "script-src") {
			t.Errorf("%s: %d is a page under the policy %q", what, res.StatusCode, csp)
		}
		return

	case "application/fhir+xml":
		if !strings.HasPrefix(string(body), `<OperationOutcome xmlns="http://hl7.org/fhir"><issue>`) {
			t.Errorf("%s: %d in XML is %.300s", what, res.StatusCode, body)
		}
		return
	}

	var m map[string]any
	if err := json.Unmarshal(body, &m); err != nil {
		t.Errorf("%s: %d is not JSON: %.200s", what, res.StatusCode, body)
		return
	}
	if m["resourceType"] == "OperationOutcome" {
		return
	}

	for name := range m {
		if !slices.Contains([]string{"error", "error_description", "error_uri"}, name) {
			t.Errorf("%s: %d has member %q", what, res.StatusCode, name)
		}
	}

	if m["error"] == nil || m["error_description"] == nil {
		t.Errorf("%s: %d lacks error or error_description: %s", what, res.StatusCode, body)
	}
}
