package label_test

import (
	"fmt"
	"testing"

	"fhirdest.example/fhir/label"
)

// What is very restricted is read with a clearance for it, for treatment, as long as the
// patient permits it expressly: by reading, in searches and their totals.
//
// Covers: FS-703, FS-309
func TestVeryRestrictedTakesTheConsentOfThePatient(t *testing.T) {
	const doctor = "system/*.cruds; party=https://doctor.test; purpose="
	p := policy()
	p.Clearances = append(p.Clearances, label.Clearance{
		Client: "https://doctor.test",
		Level:  "V",
	})
	e := newEnv(t, p)
	put(t, e, patient)
	want(t, e.Do("PUT", "/Observation/v", doctor+treatment, observation("v", "V")), 201)
	want(t, e.Do("PUT", "/Observation/r", doctor+treatment, observation("r", "R")), 201)

	consent := func(status, kind string) {
		t.Helper()
		w := e.Do("PUT", "/Consent/c", doctor+treatment, fmt.Sprintf(`{"resourceType":"Consent","id":"c","status":%q,
			"scope":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/consentscope","code":"patient-privacy"}]},
			"category":[{"coding":[{"system":"http://loinc.org","code":"59284-0"}]}],
			"patient":{"reference":"Patient/p"},
			"policyRule":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"OPTIN"}]},
			"provision":{"type":%q,"purpose":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActReason",
			"code":"TREAT"}]}}`, status, kind))
		if w.Code >= 300 {
			t.Fatal(w.Code, w.Body)
		}
	}

	for _, c := range []struct {
		name, status, kind, token string
		read                      int
		found                     int // of the two
	}{
		{"no Consent", "", "", doctor + treatment, 404, 1},
		{"permitted", "active", "permit", doctor + treatment, 200, 2},
		{"for another purpose", "active", "permit", doctor + "urn:oid:2.16.840.1.113883.5.8#HMARKT", 404, 0},
		{"with a clearance for R", "active", "permit", cleared, 404, 1},
		{"without a clearance", "active", "permit", uncleared, 404, 0},
		{"denied", "active", "deny", doctor + treatment, 404, 0},
		{"withdrawn", "inactive", "permit", doctor + treatment, 404, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.status != "" {
				consent(c.status, c.kind)
			}

			want(t, e.Do("GET", "/Observation/v", c.token, ""), c.read)
			want(t, e.Do("GET", "/Observation/v/_history/1", c.token, ""), c.read)
			for _, path := range []string{"/Observation", "/Observation?patient=p", "/Observation?_total=none"} {
				if found := follow(t, e, path, c.token); len(found) != c.found {
					t.Errorf("%s: %v", path, found)
				}
			}
		})
	}
}
