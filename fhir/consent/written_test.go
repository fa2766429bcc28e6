package consent_test

import (
	"strings"
	"testing"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/async/asyncenv"
	"fhirdest.example/fhir/label"
	"fhirdest.example/fhir/sample"
)

// A Consent is written with a scope for Consents, and with no other: neither one for
// everything else of the patient, nor one for reading them.
//
// Covers: FS-302, FS-411
func TestWritingAConsentTakesItsScope(t *testing.T) {
	e := newEnv(t, 1)
	body := consentOf("c", "active", sample.PatientID(0), noMarketing)
	inactive := consentOf("c", "inactive", sample.PatientID(0), noMarketing)
	for _, row := range []struct {
		token, method, path, body string
		status                    int
	}{
		{"system/Patient.cruds system/Consent.rs", "PUT", "/Consent/c", body, 403},
		{"system/Patient.cruds system/Consent.rs", "POST", "/Consent", body, 403},
		{"system/Consent.u", "PUT", "/Consent/c", body, 201},
		{"system/Patient.cruds system/Consent.rs", "PUT", "/Consent/c", inactive, 403},
		{"system/Patient.cruds system/Consent.rs", "DELETE", "/Consent/c", "", 403},
		{"system/Patient.cruds system/Consent.cd", "PUT", "/Consent/c", inactive, 403},
		{"patient/Consent.u; patient=" + sample.PatientID(0), "PUT", "/Consent/c", inactive, 200},
		{"system/Consent.d", "DELETE", "/Consent/c", "", 204},
		{"system/Consent.c", "POST", "/Consent", body, 201},
	} {
		t.Run(row.method+" "+row.token, func(t *testing.T) {
			if w := e.Do(row.method, row.path, row.token, row.body); w.Code != row.status {
				t.Errorf("%d, want %d: %s", w.Code, row.status, short(w))
			}
		})
	}
}

// A patient who denies the making of data denies it by PUT to a free id, too, and in
// the place of what was deleted.
//
// Covers: FS-302, case 236
func TestCollectingIsDeniedInEveryWay(t *testing.T) {
	e := newEnv(t, 1)
	of := `,"subject":{"reference":"Patient/` + sample.PatientID(0) + `"}}`
	body := `{"resourceType":"Observation","id":"o","status":"final","code":{"text":"x"}` + of
	put(t, e, "/Observation/o", body)
	if w := e.Do("DELETE", "/Observation/o", treatment, ""); w.Code != 204 {
		t.Fatal(w.Code)
	}

	put(t, e, "/Consent/c", consentOf("c", "active", sample.PatientID(0), `,"provision":{"type":"deny","action":[
		{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/consentaction","code":"collect"}]}]}`))
	fresh := `{"resourceType":"Observation","id":"new","status":"final","code":{"text":"x"}` + of
	for _, row := range [][3]string{
		{"POST", "/Observation", body},
		{"PUT", "/Observation/new", fresh},
		{"PUT", "/Observation/o", body},
		{"PUT", "/Observation?_id=free", strings.Replace(fresh, `"new"`, `"free"`, 1)},
	} {
		t.Run(row[0]+" "+row[1], func(t *testing.T) {
			if w := e.Do(row[0], row[1], treatment, row[2]); w.Code != 403 && w.Code != 404 {
				t.Errorf("%d: %s", w.Code, short(w))
			}
		})
	}
}

// A provision about a security label finds the labels that the server's rules imply,
// like those that a resource was sent with.
//
// Covers: FS-302, FS-704
func TestProvisionSeesImpliedLabels(t *testing.T) {
	e := asyncenv.New(t, func(e *asyncenv.Env) {
		e.Change = func(c *fhir.Config) {
			c.Labels = label.Policy{
				Sensitive: []string{"none"},
				Rules: []label.Rule{{
					Codes:  []string{"http://loinc.org|7917-8"},
					Labels: []string{"HIV"},
				}},
			}
		}
	})
	put(t, e, "/Patient/p", `{"resourceType":"Patient","id":"p"}`)

	const hiv = `","status":"final","code":{"coding":[{"system":"http://loinc.org","code":"7917-8"}]},` +
		`"subject":{"reference":"Patient/p"}}`
	put(t, e, "/Observation/hiv", `{"resourceType":"Observation","id":"hiv`+hiv)
	put(t, e, "/Observation/other", `{"resourceType":"Observation","id":"other","status":"final","code":{"text":"x"},
		"subject":{"reference":"Patient/p"}}`)
	put(t, e, "/Bundle/b",
		`{"resourceType":"Bundle","id":"b","type":"collection","entry":[{"fullUrl":"urn:uuid:6b2a0b26-0f1f-4d5a-9a0e-0d6ed2f0a001",
		"resource":{"resourceType":"Observation","id":"in`+hiv+`}]}`)

	put(t, e, "/Consent/c", consentOf("c", "active", "p", `,"provision":{"type":"deny",
		"securityLabel":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"HIV"}]}`))

	for path, status := range map[string]int{
		"/Observation/hiv":            404,
		"/Observation/hiv/_history/1": 404,
		"/Observation/other":          200,
		"/Bundle/b":                   404,
	} {
		t.Run(path, func(t *testing.T) {
			if w := e.Do("GET", path, treatment, ""); w.Code != status {
				t.Errorf("%d, want %d: %s", w.Code, status, short(w))
			}
		})
	}

	if w := e.Do("GET", "/Observation?_summary=count", treatment, ""); w.Code != 200 ||
		!strings.Contains(w.Body.String(), `"total":1`) {
		t.Errorf("counted: %s", short(w))
	}
}
