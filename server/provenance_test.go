package server_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/client"
)

// fhirClient is a client of a destination's FHIR service.
type fhirClient struct {
	t     *testing.T
	d     *servertest.Destination
	token string
}

func writing(w *servertest.Env) { w.Config.Writable = true }

// newFHIRClient registers a client, and gets a token for a scope.
func newFHIRClient(t *testing.T, d *servertest.Destination, scope string) *fhirClient {
	s := d.Session(d.A, d.Client(d.A, "https://writer.test"), scope)
	return &fhirClient{
		t:     t,
		d:     d,
		token: s.Token.Access,
	}
}

// ask sends a request, and returns the status, the answer and its headers.
func (c *fhirClient) ask(method, path, body string, headers ...string) (int, map[string]any, http.Header) {
	c.t.Helper()
	if !strings.HasPrefix(path, "https://") {
		path = servertest.Base + path
	}
	headers = append(headers, "Authorization", "Bearer "+c.token)
	if body != "" && !slices.Contains(headers, "Content-Type") {
		headers = append(headers, "Content-Type", "application/fhir+json")
	}
	res := c.d.Do(method, path, strings.NewReader(body), headers...)
	text, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}

	var out map[string]any
	if len(text) > 0 {
		if err := json.Unmarshal(text, &out); err != nil {
			c.t.Fatalf("%s %s: %s %s", method, path, res.Status, text)
		}
	}
	return res.StatusCode, out, res.Header
}

// must is ask for a request that must succeed.
func (c *fhirClient) must(method, path, body string, headers ...string) (map[string]any, http.Header) {
	c.t.Helper()
	status, out, h := c.ask(method, path, body, headers...)
	if status >= 300 {
		c.t.Fatalf("%s %s: %d %v", method, path, status, out)
	}
	return out, h
}

// found returns the resources of a search, included ones too.
func (c *fhirClient) found(path string) (all []map[string]any) {
	c.t.Helper()
	out, _ := c.must("GET", path, "")
	entries, _ := out["entry"].([]any)
	for _, e := range entries {
		all = append(all, e.(map[string]any)["resource"].(map[string]any))
	}
	return all
}

// provenances returns the Provenances of a resource, the newest first, each as its
// targets and its activity.
func (c *fhirClient) provenances(of string) (all []string) {
	c.t.Helper()
	for _, p := range c.found("/Provenance?_sort=-_lastUpdated&target=" + of) {
		all = append(all, shown(p))
	}
	return all
}

func shown(p map[string]any) string {
	var parts []string
	for _, t := range p["target"].([]any) {
		parts = append(parts, t.(map[string]any)["reference"].(string))
	}
	return strings.Join(append(parts, at(p, "activity", "coding", 0, "code")), " ")
}

// at returns the text that is found by member names and places in arrays.
func at(v any, way ...any) string {
	for _, step := range way {
		switch step := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[step]
		case int:
			list, _ := v.([]any)
			if step >= len(list) {
				return ""
			}
			v = list[step]
		}
	}
	s, _ := v.(string)
	return s
}

const (
	somePatient = `{"resourceType":"Patient","id":"prov-p","name":[{"family":"Test"}]}`
	weighed     = `{"resourceType":"Observation","id":"w","status":"final","code":{"text":"weight"},` +
		`"subject":{"reference":"Patient/prov-p"},"valueQuantity":{"value":71.50,"unit":"kg"}}`
)

// Every way to change a resource leaves a Provenance of exactly what it has made.
// Covers: FS-506
func TestEveryWriteHasAProvenance(t *testing.T) {
	d := servertest.Start(t, writing)
	c := newFHIRClient(t, d, "system/*.cruds")
	patch := []string{"Content-Type", "application/json-patch+json"}
	amended := `[{"op":"replace","path":"/status","value":"amended"}]`

	c.must("PUT", "/Patient/prov-p", somePatient)
	c.must("PUT", "/Observation/w", weighed)
	c.must("PUT", "/Observation/w", weighed)
	c.must("PATCH", "/Observation/w", amended, patch...)
	c.must("PUT", "/Observation?_id=w", weighed)
	c.must("PATCH", "/Observation?_id=w", amended, patch...)
	c.must("DELETE", "/Observation/w", "")
	c.must("DELETE", "/Observation/w", "") // already
	c.must("PUT", "/Observation/w", weighed)
	c.must("DELETE", "/Observation?_id=w", "")

	want := []string{
		"Observation/w/_history/8 DELETE", "Observation/w/_history/7 CREATE", "Observation/w/_history/6 DELETE",
		"Observation/w/_history/5 UPDATE", "Observation/w/_history/4 UPDATE", "Observation/w/_history/3 UPDATE",
		"Observation/w/_history/2 UPDATE", "Observation/w/_history/1 CREATE",
	}
	if got := c.provenances("Observation/w"); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := c.provenances("Patient/prov-p"); !slices.Equal(got, []string{"Patient/prov-p/_history/1 CREATE"}) {
		t.Errorf("%q", got)
	}

	made, _ := c.must("POST", "/Observation", weighed, "If-None-Exist", "status=registered")
	c.must("POST", "/Observation", weighed, "If-None-Exist", "subject=Patient/prov-p") // finds that one
	if got := c.provenances("Observation/" + made["id"].(string)); len(got) != 1 {
		t.Errorf("%q", got)
	}

	before := len(c.found("/Provenance?_count=1000"))
	own := `{"resourceType":"Provenance","target":[{"reference":"Observation/w"}],"recorded":"2026-01-01T00:00:00Z",` +
		`"agent":[{"who":{"display":"x"}}]}`
	c.must("POST", "/Provenance", own)
	if after := len(c.found("/Provenance?_count=1000")); after != before+1 {
		t.Errorf("%d Provenances became %d: one has one itself", before, after)
	}
}

// A transaction has one Provenance, with the versions that it made; a batch has one
// for each entry.
// Covers: FS-506
func TestBundlesHaveProvenance(t *testing.T) {
	d := servertest.Start(t, writing)
	c := newFHIRClient(t, d, "system/*.cruds")
	bundle := func(typ string) string {
		return `{"resourceType":"Bundle","type":"` + typ + `","entry":[` +
			`{"resource":` + somePatient + `,"request":{"method":"PUT","url":"Patient/prov-p"}},` +
			`{"resource":` + weighed + `,"request":{"method":"PUT","url":"Observation/w"}},` +
			`{"resource":{"resourceType":"Organization","id":"prov-o","name":"O"},` +
			`"request":{"method":"PUT","url":"Organization/prov-o"}},` +
			`{"request":{"method":"GET","url":"Patient/prov-p"}}]}`
	}

	c.must("POST", "", bundle("transaction"))
	c.must("POST", "", bundle("transaction"))
	c.must("POST", "", bundle("batch"))
	all := "Patient/prov-p/_history/%d Observation/w/_history/%[1]d Organization/prov-o/_history/%[1]d "
	want := []string{
		"Organization/prov-o/_history/3 UPDATE", fmt.Sprintf(all, 2) + "UPDATE", fmt.Sprintf(all, 1) + "CREATE",
	}
	if got := c.provenances("Organization/prov-o"); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}

	refused := strings.Replace(bundle("transaction"), `"status":"final"`, `"status":"none"`, 1)
	if status, _, _ := c.ask("POST", "", refused); status < 400 || len(c.provenances("Organization/prov-o")) != 3 {
		t.Errorf("a transaction that is refused (%d) left a Provenance", status)
	}
}

// A Provenance names the client, its organization and the person, as US Core's profile
// asks, and is found where the resource's record is.
// Covers: FS-506
func TestProvenanceOfAPatientsRecord(t *testing.T) {
	d := servertest.Start(t, writing)
	s := d.Session(d.A, d.Client(d.A, "https://writer.test"), "system/*.cruds")
	b2b := servertest.Treatment()
	b2b.SubjectName, b2b.SubjectID, b2b.SubjectRole = "Dr. Test", "urn:oid:2.16.840.1.113883.4.6#1234567893", "urn:x#1"
	token, err := s.Client.Token(t.Context(), s.Discovered, client.TokenRequest{
		ClientID: s.Registered.ClientID,
		Scope:    "system/*.cruds",
		B2B:      b2b,
	})
	if err != nil {
		t.Fatal(err)
	}

	c := &fhirClient{
		t:     t,
		d:     d,
		token: token.Access,
	}
	c.must("PUT", "/Patient/prov-p", somePatient)
	c.must("PUT", "/Observation/w", weighed)

	of := func(path string) (n int) {
		for _, r := range c.found(path) {
			if r["resourceType"] == "Provenance" && shown(r) == "Observation/w/_history/1 CREATE" {
				n++
				c.checkAgents(r, string(s.Registered.ClientID))
			}
		}
		return n
	}
	for _, path := range []string{
		"/Observation?_id=w&_revinclude=Provenance:target", "/Provenance?patient=prov-p", "/Patient/prov-p/Provenance",
		"/Patient/prov-p/$everything", "/Provenance?patient.name=Test", "/Provenance?agent:identifier=" + string(s.Registered.ClientID),
	} {
		if n := of(path); n != 1 {
			t.Errorf("%s: the Provenance is there %d times", path, n)
		}
	}
}

func (c *fhirClient) checkAgents(p map[string]any, clientID string) {
	c.t.Helper()
	for _, row := range []struct {
		want string
		way  []any
	}{
		{"transmitter", []any{"agent", 0, "type", "coding", 0, "code"}},
		{clientID, []any{"agent", 0, "who", "identifier", "value"}},
		{servertest.Base, []any{"agent", 0, "who", "identifier", "system"}},
		{"Device", []any{"agent", 0, "who", "type"}},
		{"https://clinic.test/organization/1", []any{"agent", 0, "onBehalfOf", "identifier", "value"}},
		{"HTEST clinic", []any{"agent", 0, "onBehalfOf", "display"}},
		{"author", []any{"agent", 1, "type", "coding", 0, "code"}},
		{"urn:oid:2.16.840.1.113883.4.6#1234567893", []any{"agent", 1, "who", "identifier", "value"}},
		{"Dr. Test", []any{"agent", 1, "who", "display"}},
		{"https://clinic.test/organization/1", []any{"agent", 1, "onBehalfOf", "identifier", "value"}},
		{"http://hl7.org/fhir/us/core/StructureDefinition/us-core-provenance", []any{"meta", "profile", 0}},
		{at(p, "meta", "lastUpdated"), []any{"recorded"}},
	} {
		if got := at(p, row.way...); got != row.want {
			c.t.Errorf("%v is %q, want %q", row.way, got, row.want)
		}
	}
}

// provenance: off leaves none, and refuses the header.
func TestProvenanceOff(t *testing.T) {
	d := servertest.Start(t, writing, func(w *servertest.Env) { w.Config.Provenance = "off" })
	c := newFHIRClient(t, d, "system/*.cruds")
	c.must("PUT", "/Patient/prov-p", somePatient)
	if got := c.provenances("Patient/prov-p"); len(got) > 0 {
		t.Errorf("%q", got)
	}
	status, out, h := c.ask("PUT", "/Patient/prov-p", somePatient, "X-Provenance", sentProvenance)
	if status != http.StatusBadRequest || h.Get("Trace-Id") == "" {
		t.Errorf("%d %v", status, out)
	}
}
