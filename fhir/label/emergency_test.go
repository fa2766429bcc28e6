package label_test

import (
	"strings"
	"testing"

	"fhirdest.example/fhir/async/asyncenv"
)

// Emergency access is stated by the request and takes a token that was issued for it. It
// opens what is restricted, and is in the record of the request.
//
// Covers: FS-308, FS-309
func TestEmergency(t *testing.T) {
	e := newEnv(t, policy())
	put(t, e, patient)
	put(t, e, observation("r", "R,PSY"))
	want(t, e.Do("POST", "/Observation", labeller, observation("v", "V")), 201)

	const category = `http://terminology.hl7.org/CodeSystem/v3-ActReason#BTG; scheme="http://hl7.org/fhir/tag/security"; ` +
		`label="break the glass"`
	retired := "system/*.cruds; purpose=urn:oid:2.16.840.1.113883.5.8#ETREAT"
	for _, c := range []struct {
		name, token, header, value string
		status                     int
	}{
		{"Category", urgent, "Category", category, 200},
		{"Category alone", urgent, "Category", "http://terminology.hl7.org/CodeSystem/v3-ActReason#BTG", 200},
		{"Category of FHIR's first edition", urgent, "Category", "http://hl7.org/fhir/v3/ActReason#BTG", 200},
		{"Category among others", urgent, "Category", "urn:x#y, " + category, 200},
		{"header", urgent, "Purpose-Of-Use", "BTG", 200},
		{"header, whole", urgent, "Purpose-Of-Use", emergency, 200},
		{"ETREAT", retired, "Purpose-Of-Use", "ETREAT", 200},
		{"BTG by a token for ETREAT", retired, "Category", category, 200},
		{"not stated", urgent, "", "", 404},
		{"another purpose", urgent, "Purpose-Of-Use", "TREAT", 404},
		{"another category", urgent, "Category", "urn:x#y", 404},
		{"a token without purposes", uncleared, "Category", category, 403},
		{"a token for treatment", cleared, "Purpose-Of-Use", "BTG", 403},
		{"a purpose of that name", "system/*.cruds; purpose=urn:other#BTG", "Purpose-Of-Use", "BTG", 403},
	} {
		t.Run(c.name, func(t *testing.T) {
			var header []string
			if c.header != "" {
				header = []string{c.header, c.value}
			}
			w := want(t, e.Do("GET", "/Observation/r", c.token, "", header...), c.status)
			if c.status == 403 && !e.Traced(w.Header().Get("Trace-Id"), "access.breakGlass") {
				t.Error("the refusal has no trace")
			}
			if c.status != 200 {
				return
			}

			if b := bundleOf(t, e.Do("GET", "/Observation", c.token, "", header...)); b.Total != 1 || b.level() != "R" {
				t.Errorf("total %d, level %q", b.Total, b.level())
			}
			want(t, e.Do("PUT", "/Observation/r", c.token, observation("r", "R,PSY"), header...), 404)
			want(t, e.Do("DELETE", "/Observation/r", c.token, "", header...), 204)
			want(t, e.Do("GET", "/Observation/r", cleared, ""), 200) // nothing was deleted
			recorded(t, e)
		})
	}
}

// recorded finds the record of a read with the purpose of emergency access.
func recorded(t *testing.T, e *asyncenv.Env) {
	t.Helper()
	b := bundleOf(t, e.Do("GET", "/AuditEvent?entity=Observation/r&_count=1000", "system/AuditEvent.rs; records", ""))
	for _, entry := range b.Entry {
		purposes, _, _ := strings.Cut(string(entry.Resource), `"agent"`)
		if strings.Contains(purposes, `"purposeOfEvent"`) && strings.Contains(purposes, `"BTG"`) {
			return
		}
	}
	t.Error("no record has the purpose BTG")
}

// Work in the background is done as the request stated it.
//
// Covers: FS-308
func TestEmergencyInTheBackground(t *testing.T) {
	e := newEnv(t, policy())
	put(t, e, patient)
	put(t, e, observation("r", "R"))

	for _, c := range []struct {
		name   string
		header []string
		status string
	}{
		{"stated", []string{"Purpose-Of-Use", "BTG"}, "200"},
		{"not stated", nil, "404"},
	} {
		t.Run(c.name, func(t *testing.T) {
			at := e.Begin("GET", "/Observation/r", urgent, "", c.header...)
			if r := e.Result(at, urgent); !strings.HasPrefix(r.Response.Status, c.status) {
				t.Errorf("%s", r.Response.Status)
			}
		})
	}
}
