package match_test

import (
	"strings"
	"testing"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/async/asyncenv"
	"fhirdest.example/fhir/label"
)

// Whoever may not see a patient, or an element, learns nothing of it by describing it
// rightly: labels hold for matching as for reading.
//
// Covers: FS-302, FS-705
func TestLabelsHoldForMatching(t *testing.T) {
	e := asyncenv.New(t, func(e *asyncenv.Env) {
		e.Change = func(c *fhir.Config) {
			c.Labels = label.Policy{Masks: []label.Mask{{
				Types:    []string{"Patient"},
				Elements: []string{"telecom", "address"},
			}}}
		}
	})

	const phone = `"telecom":[{"system":"phone","value":"617 555-0101"}]`
	put(e, "open", jane+","+janeHome+","+phone)
	put(e, "restricted", strings.ReplaceAll(jane, "Doe", "Poe")+","+janeHome+`,"meta":{"security":[{"system":`+
		`"http://terminology.hl7.org/CodeSystem/v3-Confidentiality","code":"R"}]}`)

	w := e.Do("POST", "/Patient/$match", matcher, parameters("IDI-Patient", jane+","+janeHome+","+phone, ""))
	if got := read(t, w).grades(); got != "open possible" {
		t.Errorf("by what is masked: %s", got)
	}
	if strings.Contains(w.Body.String(), "Maple") || strings.Contains(w.Body.String(), "555-0101") {
		t.Errorf("what is masked is shown: %s", w.Body)
	}

	hidden := e.Do("POST", "/Patient/$match", matcher,
		parameters("IDI-Patient", strings.ReplaceAll(jane, "Doe", "Poe")+","+janeHome, ""))
	missing := e.Do("POST", "/Patient/$match", matcher,
		parameters("IDI-Patient", strings.ReplaceAll(jane, "Doe", "Roe")+","+janeHome, ""))
	if hidden.Body.String() != missing.Body.String() || read(t, hidden).grades() != "not-found" {
		t.Errorf("who is restricted is not as who is not there:\n%s\n%s", hidden.Body, missing.Body)
	}
}

// What a patient's Consent denies for a purpose is not found for it, by whatever
// description; for another purpose it is.
//
// Covers: FS-302, FS-303, FS-304
func TestConsentsHoldForMatching(t *testing.T) {
	e := asyncenv.New(t)
	whole := jane + "," + janeHome
	put(e, "jane", whole)
	put(e, "joan", strings.ReplaceAll(whole, "Maple", "Birch"))
	consent := `{"resourceType":"Consent","id":"no","status":"active","scope":{"coding":[{"system":` +
		`"http://terminology.hl7.org/CodeSystem/consentscope","code":"patient-privacy"}]},"category":[{"coding":[{"system":` +
		`"http://loinc.org","code":"59284-0"}]}],"patient":{"reference":"Patient/jane"},"policyRule":{"coding":[{"system":` +
		`"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"OPTIN"}]},"provision":{"type":"deny","purpose":[{"system":` +
		`"http://terminology.hl7.org/CodeSystem/v3-ActReason","code":"HMARKT"}]}}`
	if w := e.Do("PUT", "/Consent/no", asyncenv.All, consent); w.Code != 201 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}

	for purpose, want := range map[string]string{
		"HMARKT": "joan possible",
		"TREAT":  "jane certain, joan possible",
	} {
		w := e.Do("POST", "/Patient/$match", matcher+"; purpose="+purpose, parameters("IDI-Patient", whole, ""))
		if got := read(t, w).grades(); got != want {
			t.Errorf("for %s: %s, want %s", purpose, got, want)
		}
	}

	w := e.Do("POST", "/Patient/$match", matcher+"; purpose=HMARKT", parameters("IDI-Patient", whole, onlyCertain))
	if got := read(t, w).grades(); got != "not-found" {
		t.Errorf("certain for HMARKT: %s", got)
	}
}
