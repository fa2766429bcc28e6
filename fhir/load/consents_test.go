package load_test

import (
	"fmt"
	"strings"
	"testing"

	"fhirdest.example/fhir/async/asyncenv"
)

// Each line of a load is decided by the Consents that the lines before it have left,
// though all are stored in one transaction: one that denies, and its
// withdrawal. One that was deleted binds no load.
//
// Covers: FS-302 FS-411
func TestConsentsBindTheLinesBehindThem(t *testing.T) {
	e := newEnv(t)
	r := imported(t, e, asyncenv.All, strings.Join([]string{
		patient("p"),
		observation("o1"),
		consent("active"),
		observation("o2"),
		observation("o3"),
		consent("inactive"),
		observation("o4"),
		consent("active"),
		observation("o5"),
	}, "\n"))
	if r.Lines != 9 || r.Refused != 3 {
		t.Errorf("%+v", r)
	}

	for line := 1; line <= 9; line++ {
		refused := strings.Contains(r.reasons, fmt.Sprintf("Line %d was not stored.", line))
		if want := line == 4 || line == 5 || line == 9; refused != want {
			t.Errorf("line %d is refused: %v", line, refused)
		}
	}

	if w := e.Do("DELETE", "/Consent/c", asyncenv.All, ""); w.Code != 204 {
		t.Fatal(w.Code, w.Body)
	}
	if r := imported(t, e, asyncenv.All, observation("o6")); r.Refused != 0 {
		t.Errorf("after the deletion: %+v", r)
	}
}

func observation(id string) string {
	return fmt.Sprintf(`{"resourceType":"Observation","id":%q,"status":"final","code":{"text":"x"},`+
		`"subject":{"reference":"Patient/p"}}`, id)
}

// consent is one of the patient p that denies everything.
func consent(status string) string {
	return fmt.Sprintf(`{"resourceType":"Consent","id":"c","status":%q,`+
		`"scope":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/consentscope",`+
		`"code":"patient-privacy"}]},`+
		`"category":[{"coding":[{"system":"http://loinc.org","code":"59284-0"}]}],`+
		`"patient":{"reference":"Patient/p"},`+
		`"policyRule":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"OPTOUT"}]},`+
		`"provision":{"type":"deny"}}`, status)
}
