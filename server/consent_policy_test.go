package server_test

import (
	"context"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"fhirdest.example/fhir/sample"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/client"
)

// consentRow is what destination.yaml has under consents, and what a client without any
// Consent, or with one that denies, reads.
type consentRow struct {
	name, yaml, purpose, consent string
	header                       []string
	status                       int
}

var consentRows = []consentRow{
	{"nothing", "{}", "HMARKT", "", nil, 200},
	{"default permit", "default: permit", "HMARKT", "", nil, 200},
	{"default deny", "default: deny", "TREAT", "", nil, 404},
	{"default deny, permitted", "default: deny", "TREAT", "OPTIN", nil, 200},
	{"deny a purpose", "deny: [HMARKT]", "HMARKT", "", nil, 404},
	{"deny another purpose", "deny: [HMARKT]", "TREAT", "", nil, 200},
	{"deny a broader purpose", "deny: [TREAT]", "ETREAT", "", nil, 404},
	{"deny a purpose, permitted", "deny: [HMARKT]", "HMARKT", "OPTIN", nil, 200},
	{"breakGlass", "breakGlass: true", "BTG", "OPTOUT", []string{"Purpose-Of-Use", "BTG"}, 200},
	{"breakGlass, not stated", "breakGlass: true", "BTG", "OPTOUT", nil, 404},
	{"no breakGlass", "breakGlass: false", "BTG", "OPTOUT", []string{"Purpose-Of-Use", "BTG"}, 404},
	{"breakGlass and default", "{default: deny, breakGlass: true}", "BTG", "", []string{"Purpose-Of-Use", "BTG"}, 200},
}

// consents of destination.yaml decide where no Consent of the patient does, and whether
// emergency access passes one that denies.
//
// Covers: FS-302, FS-309
func TestConsentPolicyOfTheConfiguration(t *testing.T) {
	for _, row := range consentRows {
		t.Run(row.name, func(t *testing.T) {
			d := servertest.Start(t, func(w *servertest.Env) {
				w.Config.Patients = 1
				w.Config.Writable = true
				if err := yaml.UnmarshalWithOptions([]byte(row.yaml), &w.Config.Consents, yaml.Strict()); err != nil {
					t.Fatal(err)
				}
			})

			const scopes = "system/*.cruds"
			s := d.Session(d.A, d.Client(d.A, "https://app.test"), scopes)
			b2b := servertest.Treatment()
			b2b.PurposeOfUse = []string{"urn:oid:2.16.840.1.113883.5.8#" + row.purpose}
			token, err := s.Client.Token(context.Background(), s.Discovered, client.TokenRequest{
				ClientID: s.Registered.ClientID,
				Scope:    scopes,
				B2B:      b2b,
			})
			if err != nil {
				t.Fatal(err)
			}

			patient := sample.PatientID(0)
			bearer := []string{"Authorization", "Bearer " + token.Access}
			res := d.Do("PUT", "/acme/fhir/Consent/"+patient+"-consent-1",
				strings.NewReader(consentBy(row.consent, patient)),
				append(bearer, "Content-Type", "application/fhir+json")...)
			if res.StatusCode != 200 {
				t.Fatal(res.Status)
			}

			if res, text := d.Get("/acme/fhir/Patient/"+patient,
				append(bearer, row.header...)...); res.StatusCode != row.status {
				t.Errorf("%s, want %d: %.200s", res.Status, row.status, text)
			}
		})
	}
}

// consentBy takes the place of a patient's Consent. It has nothing but a policyRule;
// without one, it is inactive.
func consentBy(rule, patient string) string {
	status := "active"
	if rule == "" {
		status, rule = "inactive", "OPTIN"
	}
	return `{"resourceType":"Consent","id":"` + patient + `-consent-1","status":"` + status + `",
		"scope":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/consentscope","code":"patient-privacy"}]},
		"category":[{"coding":[{"system":"http://loinc.org","code":"59284-0"}]}],
		"patient":{"reference":"Patient/` + patient + `"},
		"policyRule":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"` + rule + `"}]}}`
}
