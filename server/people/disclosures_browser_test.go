package people_test

import (
	"strings"
	"testing"

	"fhirdest.example/server/servertest/chromium"
)

// The console accounts for a patient's disclosures in a real browser: empty, filled
// in wrong, and with what a client got. Each state is accessible.
//
// Covers: FS-412
func TestDisclosuresInABrowser(t *testing.T) {
	e := newEnv(t)
	s := e.Session(e.B, e.Client(e.B, "https://research.test/app"), "system/Patient.rs system/Observation.rs")
	for _, path := range []string{"Patient/" + e.patients[0], "Observation?patient=" + e.patients[0]} {
		if _, err := s.Client.Get(t.Context(), path, s.Token.Access); err != nil {
			t.Fatal(err)
		}
	}
	b := chromium.Start(t, map[string]string{
		"127.0.0.1": strings.TrimPrefix(e.Admin, "http://"),
	})

	b.Open(e.Admin + "/disclosures")
	b.Inspect("disclosures-asks")
	b.Fill("#patient", e.patients[0])
	b.Press("form.stack button")
	b.Inspect("disclosures")
	for _, text := range []string{"https://research.test/app", "Observation, Patient", "TREAT", "times since"} {
		if shown := b.Text(); !strings.Contains(shown, text) {
			t.Errorf("no %q on %s", text, shown)
		}
	}

	b.Open(e.Admin + "/disclosures?patient=" + e.patients[0] + "&start=soon")
	b.Inspect("disclosures-problem")
	b.Open(e.Admin + "/disclosures?patient=nobody")
	b.Inspect("disclosures-none")
}
