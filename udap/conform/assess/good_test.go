package assess_test

import (
	"testing"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/conform/assess"
)

// A client without mistakes violates nothing, and is one lane from its first request
// on.
func TestGoodClient(t *testing.T) {
	s := newScript(t, conform.SSRAA2)
	s.discover(nil)
	s.register()
	s.token()
	s.head = "Authorization: Bearer access-2\r\n"
	s.send("GET", "/fhir/Patient/1", "", "", 200, "", `{"resourceType":"Patient"}`)

	for _, w := range s.wrong() {
		t.Error(w)
	}
	for _, a := range s.all {
		if a.Colour != assess.Green {
			t.Errorf("%s is %s: %s", a.Step, a.Colour, a.Text)
		}
	}
	for _, row := range []string{"S1-075", "S1-077", "S1-155", "S1-186", "S1-198", "S1-228", "S1-021", "C-11"} {
		if o := s.outcome(row); o.Verdict != conform.Shown {
			t.Errorf("%s is %s: %s", row, o.Verdict, o.Text)
		}
	}

	lanes := s.assess.Lanes()
	if len(lanes) != 1 || lanes[0].Exchanges != 4 || len(lanes[0].Steps) != 4 {
		t.Errorf("lanes %+v", lanes)
	}
}

// A client whose metadata is read by one program library, and whose registration is
// sent by another, has read the metadata.
func TestMetadataByAnotherLibrary(t *testing.T) {
	s := newScript(t, conform.SSRAA2)
	s.head = "User-Agent: node\r\n"
	s.discover(nil)
	s.head = "User-Agent: oauth4webapi\r\n"
	s.register()
	s.token()

	for _, w := range s.wrong() {
		t.Error(w)
	}
	if o := s.outcome("S1-021"); o.Verdict != conform.Shown {
		t.Errorf("S1-021 is %s: %s", o.Verdict, o.Text)
	}
}

// A token request at a path that the metadata does not have is a guess.
func TestGuessedEndpoint(t *testing.T) {
	s := newScript(t, conform.SSRAA2)
	s.discover(nil)
	s.register()
	s.send("POST", "/oauth/connect/token", "application/x-www-form-urlencoded", "grant_type=client_credentials",
		404, "", "")
	s.send("POST", "/connect/register", "application/json", `{"software_statement":"x"}`, 404, "", "")

	o := s.outcome("S1-021")
	if o.Verdict != conform.Violated || len(o.Exchanges) != 2 {
		t.Errorf("S1-021 is %s in %v: %s", o.Verdict, o.Exchanges, o.Text)
	}
}
