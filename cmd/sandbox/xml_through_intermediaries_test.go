package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"fhirdest.example/certs"
	"fhirdest.example/cmd/internal/testbed"
	"fhirdest.example/fhir/xml"
	"fhirdest.example/udap/udaptest"
)

// xmlPatient is a Patient with what XML has a form of its own for.
const xmlPatient = `<?xml version="1.0" encoding="UTF-8"?><Patient xmlns="http://hl7.org/fhir"><id value="%s"/>` +
	`<text><status value="generated"/><div xmlns="http://www.w3.org/1999/xhtml"><p>A &amp; <b>B</b></p></div></text>` +
	`<name><given value="a&#10;b"/><given><extension url="urn:x"><valueDecimal value="1.50"/></extension></given></name></Patient>`

// xmlBundle is a Bundle that writes such a Patient and reads two.
const xmlBundle = `<Bundle xmlns="http://hl7.org/fhir"><type value="%[2]s"/><entry><resource><Patient><id value="%[1]s"/>` +
	`<active value="true"/></Patient></resource><request><method value="PUT"/><url value="Patient/%[1]s"/></request></entry>` +
	`<entry><request><method value="GET"/><url value="Patient/%[1]s"/></request></entry></Bundle>`

// xmlMatch describes a person whom nobody is.
const xmlMatch = `<Parameters xmlns="http://hl7.org/fhir"><parameter><name value="resource"/><resource><Patient>` +
	`<name><family value="Doe"/><given value="Jane"/></name><telecom><system value="email"/><value value="a@example.org"/>` +
	`</telecom><birthDate value="1991-12-31"/></Patient></resource></parameter></Parameters>`

// xmlStep is one exchange in XML.
type xmlStep struct {
	name, method, path string
	media, body        string
	status             int
	want               string // in the JSON of the answer
}

// xmlSteps are the places where XML can be, for a Patient of that id.
func xmlSteps(id string) []xmlStep {
	const fhirXML, form = "application/fhir+xml", "application/x-www-form-urlencoded"
	at, patient := "/Patient/"+id, fmt.Sprintf(xmlPatient, id)
	return []xmlStep{
		{"metadata", "GET", "/metadata", "", "", 200, `"CapabilityStatement"`},
		{"update as create", "PUT", at, fhirXML, patient, 201, `"valueDecimal":1.50`},
		{"update", "PUT", at, "text/xml", patient, 200, `"versionId":"2"`},
		{"create", "POST", "/Patient", "application/xml", patient, 201, `"versionId":"1"`},
		{"read", "GET", at, "", "", 200, `"a\nb"`},
		{"vread", "GET", at + "/_history/1", "", "", 200, `"versionId":"1"`},
		{"history", "GET", at + "/_history", "", "", 200, `"type":"history"`},
		{"search", "GET", "/Patient?_id=" + id, "", "", 200, `"total":1`},
		{"posted search", "POST", "/Patient/_search", form, "_id=" + id, 200, `"total":1`},
		{"summary", "GET", at + "?_summary=text", "", "", 200, `"SUBSETTED"`},
		{"elements", "GET", "/Patient?_elements=name&_id=" + id, "", "", 200, `"SUBSETTED"`},
		{"pretty", "GET", at + "?_pretty=true", "", "", 200, `"id":"` + id + `"`},
		{"everything", "GET", at + "/$everything", "", "", 200, `"searchset"`},
		{"validate", "POST", "/Patient/$validate", fhirXML, patient, 200, `"No complaint."`},
		{"match", "POST", "/Patient/$match", fhirXML, xmlMatch, 200, `"code":"not-found"`},
		{"match, bad", "POST", "/Patient/%24match", fhirXML, "<Parameters xmlns=\"http://hl7.org/fhir\"/>", 400, `"required"`},
		{"patch", "PATCH", at, "application/json-patch+json", `[{"op":"add","path":"/active","value":true}]`, 200, `"active":true`},
		{"batch", "POST", "", fhirXML, fmt.Sprintf(xmlBundle, id, "batch"), 200, `"batch-response"`},
		{"transaction", "POST", "", fhirXML, fmt.Sprintf(xmlBundle, id, "transaction"), 200, `"transaction-response"`},
		{"not found", "GET", "/Patient/none", "", "", 404, `"code":"not-found"`},
		{"no such path", "GET", "/Nothing/x/y", "", "", 404, `"OperationOutcome"`},
		{"bad query", "GET", "/Patient?birthdate=x", "", "", 400, `"OperationOutcome"`},
		{"bad XML", "POST", "/Patient", fhirXML, "<!DOCTYPE x><x/>", 400, `"structure"`},
		{"bad type", "POST", "/Patient", "application/pdf", "x", 415, `"not-supported"`},
		{"encoded", "DELETE", at + "?x=%zz", "", "", 400, `"OperationOutcome"`},
	}
}

// XML is the same straight and through the intermediaries, and after a kill.
//
// Covers: ER-05, ER-12, case 255
func TestXMLStraightAndThroughTheIntermediaries(t *testing.T) {
	ownTemp(t)
	st, d := bedFor(t, testbed.Config{Separate: true}, nil)
	a := newAttacker(t, d.dir, d.manifest)
	c := a.leaf(0, "https://attacker.example/xml", udaptest.Key(t, certs.P256, 1), nil)
	m := victim{client: c, statement: a.sign(c, a.statement(c).With("scope", "system/*.cruds system/Patient.$match"))}
	m.id = a.register("public", m.statement).text("client_id")
	m.token = a.form("public", "/token",
		a.params(a.sign(c, a.assertion(m.id)), "scope", "system/*.cruds system/Patient.$match")).text("access_token")

	for _, role := range []string{"public", "private"} {
		for _, s := range xmlSteps("xml-" + role) {
			t.Run(role+", "+s.name, func(t *testing.T) { a.inXML(t, role, m.token, s) })
		}
		t.Run(role+", no token", func(t *testing.T) {
			a.inXML(t, role, "none", xmlStep{method: "GET", path: "/Patient", status: 401, want: `"login"`})
		})
		t.Run(role+", the front", func(t *testing.T) {
			a.inXML(t, role, m.token, xmlStep{method: "TRACK", path: "/Patient?_format=xml", status: 405, want: `"not-supported"`})
		})
	}

	read := func(role, accept string) answer {
		return a.send(role, "GET", a.m.PublicBase+"/Patient/xml-public", nil, "Authorization", "Bearer "+m.token, "Accept", accept)
	}
	before := read("public", "application/fhir+xml").body
	killDestination(t, st, d)
	a.http["private"].CloseIdleConnections() // which the kill has ended

	for _, role := range []string{"public", "private"} {
		if got := read(role, "application/fhir+xml").body; got != before || got == "" {
			t.Errorf("%s, after the kill:\n%s\nbefore\n%s", role, got, before)
		}
		if body, err := xml.Read([]byte(before)); err != nil || !sameJSON(t, body, []byte(read(role, "application/fhir+json").body)) {
			t.Errorf("%s: JSON and XML differ: %v", role, err)
		}
	}
	a.logs()
}

// inXML does a step, and reads its answer as XML.
func (a *attacker) inXML(t *testing.T, role, token string, s xmlStep) {
	t.Helper()
	header := []string{"Authorization", "Bearer " + token, "Accept", "application/fhir+xml"}
	if s.media != "" {
		header = append(header, "Content-Type", s.media)
	}

	got := a.send(role, s.method, a.m.PublicBase+s.path, strings.NewReader(s.body), header...)
	if got.status != s.status || got.header.Get("Content-Type") != "application/fhir+xml; charset=utf-8" {
		t.Fatalf("%d %s: %.1000s", got.status, got.header.Get("Content-Type"), got.body)
	}

	body, err := xml.Read([]byte(got.body))
	if err != nil || !bytes.Contains(body, []byte(s.want)) {
		t.Errorf("%v: %.1000s\nlacks %s", err, body, s.want)
	}
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	for body, to := range map[*[]byte]*any{&a: &x, &b: &y} {
		if err := json.Unmarshal(*body, to); err != nil {
			t.Fatalf("%v: %s", err, *body)
		}
	}
	return reflect.DeepEqual(x, y)
}
