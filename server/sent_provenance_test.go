package server_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"fhirdest.example/server/servertest"
)

// sentProvenance is what a client sends in X-Provenance: without a target.
const sentProvenance = `{"resourceType":"Provenance","recorded":"2026-01-02T03:04:05.678+01:00",` +
	`"reason":[{"text":"as the client knows it"}],"agent":[{"who":{"display":"Dr. Sent"}}]}`

// A Provenance in the header is stored in the place of the server's own, with the
// change, and aimed at the version that was made.
// Covers: FS-505
func TestXProvenance(t *testing.T) {
	d := servertest.Start(t, writing)
	c := newFHIRClient(t, d, "system/*.cruds")
	header := []string{"X-Provenance", sentProvenance}
	with := func(more ...string) []string { return append(more, header...) }
	patch := []string{"Content-Type", "application/json-patch+json"}
	amended := `[{"op":"replace","path":"/status","value":"amended"}]`

	c.must("PUT", "/Patient/prov-p", somePatient)
	c.must("PUT", "/Observation/w", weighed, header...)
	c.must("PUT", "/Observation/w", weighed, "X-Provenance", strings.Replace(sentProvenance, `{`,
		`{"id":"mine","meta":{"versionId":"7"},"target":[{"reference":"Observation/w"}],"extension":[{"url":"urn:x","valueBoolean":true}],`, 1))
	c.must("PATCH", "/Observation/w", amended, with(patch...)...)
	c.must("PUT", "/Observation?_id=w", weighed, header...)
	c.must("DELETE", "/Observation/w", "", header...)
	created, _ := c.must("POST", "/Observation", weighed, with("If-None-Exist", "status=registered")...)

	c.must("POST", "/Observation", weighed, with("If-None-Exist", "subject=Patient/prov-p")...) // finds that one

	of := c.found("/Provenance?_sort=_lastUpdated&_count=100&target=Observation/w,Observation/" +
		created["id"].(string))
	var got []string

	for _, p := range of {
		got = append(got, shown(p))
		if at(p, "reason", 0, "text") != "as the client knows it" ||
			at(p, "recorded") != "2026-01-02T03:04:05.678+01:00" ||
			at(p, "id") == "mine" || at(p, "meta", "versionId") != "1" {
			t.Errorf("not as it was sent: %v", p)
		}
	}

	want := []string{
		"Observation/w/_history/1 ", "Observation/w/_history/2 ", "Observation/w/_history/3 ", "Observation/w/_history/4 ",
		"Observation/w/_history/5 ", "Observation/" + created["id"].(string) + "/_history/1 ",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if n := len(c.found("/Provenance?patient=prov-p&_count=100")); n != len(want)+1 {
		t.Errorf("%d in the patient's record", n)
	}
}

// What the header may not be is refused by a named check, and then nothing is stored.
// Covers: FS-505
func TestXProvenanceRefused(t *testing.T) {
	d := servertest.Start(t, writing)
	c := newFHIRClient(t, d, "system/*.cruds")
	c.must("PUT", "/Patient/prov-p", somePatient)
	edit := func(old, new string) string { return strings.Replace(sentProvenance, old, new, 1) }
	bundle := `{"resourceType":"Bundle","type":"transaction","entry":[{"resource":` + weighed +
		`,"request":{"method":"PUT","url":"Observation/w"}}]}`

	for name, row := range map[string]struct {
		method, path, body, header string
		check                      string
	}{
		"no JSON": {"PUT", "/Observation/w", weighed, "x", "provenance.header"},
		"a member twice": {
			"PUT", "/Observation/w", weighed, edit(`{`, `{"recorded":"2026-01-01T00:00:00Z",`),
			"provenance.header",
		},
		"another type": {"PUT", "/Observation/w", weighed, edit("Provenance", "AuditEvent"), "provenance.header"},
		"no agent":     {"PUT", "/Observation/w", weighed, edit("agent", "note"), "provenance.header"},
		"no recorded": {
			"POST", "/Observation", weighed, edit("recorded", "occurredDateTime"),
			"provenance.header",
		},
		"a URL": {"PUT", "/Observation/w", weighed, servertest.Base + "/Provenance/x", "provenance.header"},
		"long": {
			"PUT", "/Observation/w", weighed, edit("Dr. Sent", strings.Repeat("x", 33<<10)),
			"provenance.header",
		},
		"another target": {
			"PUT", "/Observation/w", weighed,
			edit(`{`, `{"target":[{"reference":"Patient/prov-p"}],`), "provenance.target",
		},
		"target unknown": {
			"POST", "/Observation", weighed,
			edit(`{`, `{"target":[{"reference":"Observation/w"}],`), "provenance.target",
		},
		"of a Provenance": {
			"POST", "/Provenance", edit(`{`, `{"target":[{"reference":"Observation/w"}],`),
			sentProvenance, "provenance.header",
		},
		"on a transaction": {"POST", "", bundle, sentProvenance, "provenance.header"},
		"on a batch": {
			"POST", "", strings.Replace(bundle, "transaction", "batch", 1), sentProvenance,
			"provenance.header",
		},
		"on an operation":   {"POST", "/Patient/prov-p/$sign", "", sentProvenance, "provenance.header"},
		"signed, on a POST": {"POST", "/Observation", weighed, edit(`{`, `{`+emptySignature+`,`), "signature.target"},
	} {
		t.Run(name, func(t *testing.T) {
			c := *c
			c.t = t
			status, out, h := c.ask(row.method, row.path, row.body, "X-Provenance", row.header)
			text := at(out, "issue", 0, "diagnostics")
			if status < 400 || status >= 500 || h.Get("Trace-Id") == "" || !strings.HasPrefix(text, row.check+":") {
				t.Errorf("%d %v, want the check %s", status, out, row.check)
			}
		})
	}

	if status, out, _ := c.ask("PUT", "/Observation/w", weighed, "X-Provenance", sentProvenance, "X-Provenance",
		sentProvenance); status != http.StatusBadRequest {
		t.Errorf("two headers: %d %v", status, out)
	}

	for _, path := range []string{"/Observation?subject=Patient/prov-p", "/Provenance?target=Observation/w"} {
		if all := c.found(path); len(all) > 0 {
			t.Errorf("something was stored: %v", all)
		}
	}

	c.must("GET", "/Patient/prov-p", "", "X-Provenance", "x") // of no matter where nothing changes
}

const emptySignature = `"signature":[{"type":[{"code":"x"}],"when":"2026-01-01T00:00:00Z","who":{"display":"x"}}]`

// The header creates a resource, which the token must allow.
// Covers: FS-505 FS-302
func TestXProvenanceNeedsAScope(t *testing.T) {
	d := servertest.Start(t, writing)
	all := newFHIRClient(t, d, "system/*.cruds")
	all.must("PUT", "/Patient/prov-p", somePatient)

	for scope, want := range map[string]int{
		"system/Observation.cruds":                         http.StatusForbidden,
		"system/Observation.cruds system/Provenance.rs":    http.StatusForbidden,
		"system/Observation.cruds system/Provenance.cruds": http.StatusCreated,
	} {
		t.Run(scope, func(t *testing.T) {
			s := d.Session(d.A, d.Client(d.A, "https://narrow.test"), scope)
			c := &fhirClient{
				t:     t,
				d:     d,
				token: s.Token.Access,
			}
			status, out, h := c.ask("POST", "/Observation", weighed, "X-Provenance", sentProvenance)
			if status != want {
				t.Errorf("%d %v, want %d", status, out, want)
			}

			if want == http.StatusForbidden && !strings.Contains(h.Get("WWW-Authenticate"), "system/Provenance.c") {
				t.Errorf("WWW-Authenticate: %q", h.Values("WWW-Authenticate"))
			}
		})
	}

	if n := len(all.found("/Observation?subject=Patient/prov-p")); n != 1 {
		t.Errorf("%d Observations were stored, want 1", n)
	}
}

// A request whose header is refused is in the audit record, and so is the Provenance
// that a header creates.
// Covers: FS-505
func TestXProvenanceIsAudited(t *testing.T) {
	d := servertest.Start(t, writing)
	c := newFHIRClient(t, d, "system/*.cruds system/AuditEvent.rs")
	c.must("PUT", "/Observation/w", weighed, "X-Provenance", sentProvenance)
	of := c.found("/Provenance?target=Observation/w")
	if len(of) != 1 {
		t.Fatal(of)
	}

	for _, what := range []string{"Observation/w", "Provenance/" + of[0]["id"].(string)} {
		if n := len(c.found("/AuditEvent?subtype=create,update&entity=" + what)); n != 1 {
			t.Errorf("%s: %d records of its creation", what, n)
		}
	}

	c.ask("PUT", "/Observation/refused", strings.Replace(weighed, `"w"`, `"refused"`, 1), "X-Provenance", "x")
	if n := len(c.found("/AuditEvent?subtype=update&outcome=4")); n != 1 {
		t.Errorf("%d records of the refusal", n)
	}
}

// A Provenance, the server's own or one that was sent, has the labels of its target, so
// that it is not seen where that may not be.
// Covers: FS-505 FS-506
func TestProvenanceHasTheLabels(t *testing.T) {
	d := servertest.Start(t, writing)
	c := newFHIRClient(t, d, "system/*.cruds")
	const label = `"security":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActReason","code":"HTEST"}]`
	labelled := strings.Replace(weighed, `"id":"w"`, `"id":"w","meta":{`+label+`}`, 1)

	c.must("PUT", "/Patient/prov-p", somePatient)
	c.must("PUT", "/Observation/w", labelled)
	for _, meta := range []string{``, `"meta":{"tag":[{"code":"t"}]},`, `"meta":{` + label + `},`} {
		c.must("PUT", "/Observation/w", labelled, "X-Provenance", strings.Replace(sentProvenance, `{`, `{`+meta, 1))
	}
	c.must("POST", "/Observation/w/$sign", "")
	c.must("DELETE", "/Observation/w", "")

	if n := len(c.found("/Provenance?target=Observation/w&_security=HTEST&_count=100")); n != 6 {
		t.Errorf("%d have the label, want 6", n)
	}
	if n := len(c.found("/Provenance?target=Patient/prov-p&_security=HTEST")); n != 0 {
		t.Error("that of the patient has it, too")
	}
}

// What is done in the background has its Provenance, the header's too, and has it after
// a restart.
// Covers: FS-505 FS-506
func TestProvenanceInTheBackground(t *testing.T) {
	d := servertest.Start(t, writing)
	c := newFHIRClient(t, d, "system/*.cruds")
	finished := func(h http.Header) {
		t.Helper()
		at := h.Get("Content-Location")
		d.Eventually("the job is done", func() bool {
			status, _, _ := c.ask("GET", at, "")
			return status == http.StatusOK
		})
	}

	_, h := c.must("PUT", "/Patient/prov-p", somePatient, "Prefer", "respond-async", "X-Provenance", sentProvenance)
	finished(h)
	of := c.found("/Provenance?target=Patient/prov-p")
	if len(of) != 1 || at(of[0], "reason", 0, "text") != "as the client knows it" {
		t.Errorf("%v", of)
	}

	d.Stop()
	d = d.Env.Start(d.Env.Listen())
	c.d = d
	if got := c.provenances("Patient/prov-p"); len(got) != 1 {
		t.Errorf("after a restart: %q", got)
	}
}
