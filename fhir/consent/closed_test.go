package consent_test

import (
	"fmt"
	"strings"
	"testing"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/async/asyncenv"
	"fhirdest.example/fhir/label"
)

const (
	confidentiality = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
	actCode         = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
)

// newLabelEnv returns a service whose clients are cleared for all labels but the
// highest, with a rule that implies some.
func newLabelEnv(t *testing.T) *asyncenv.Env {
	t.Helper()
	e := asyncenv.New(t, func(e *asyncenv.Env) {
		e.Change = func(c *fhir.Config) {
			c.Provenance = true
			c.Labels = label.Policy{
				Clearances: []label.Clearance{{
					Level:         "R",
					Sensitivities: []string{"*"},
				}},
				Rules: []label.Rule{{
					Codes:  []string{"http://loinc.org|7917-8"},
					Labels: []string{"R", "HIV"},
				}},
			}
		}
	})
	put(t, e, "/Patient/p", `{"resourceType":"Patient","id":"p"}`)
	return e
}

// coding writes a code, without a system if that is empty.
func coding(system, code string) string {
	if system == "" {
		return fmt.Sprintf(`{"code":%q}`, code)
	}
	return fmt.Sprintf(`{"system":%q,"code":%q}`, system, code)
}

// aboutP is an Observation of the patient p with a code and further members.
func aboutP(id, code, further string) string {
	return fmt.Sprintf(`{"resourceType":"Observation","id":%q,"status":"final",
		"code":{"coding":[{"system":"http://loinc.org","code":%q}]},
		"subject":{"reference":"Patient/p"}%s}`, id, code, further)
}

func security(system, code string) string {
	return `,"meta":{"security":[` + coding(system, code) + `]}`
}

// A Consent about a security label is about every resource that the label counts for:
// under any name of its system, where a rule implies it, and where a contained
// resource has it.
//
// Covers: FS-302, FS-309, FS-704
func TestConsentsAreAboutTheLabelsThatCount(t *testing.T) {
	const contained = `,"hasMember":[{"reference":"#in"}],"contained":[{"resourceType":"Observation","id":"in",
		"status":"final","code":{"coding":[{"system":"http://loinc.org","code":"7917-8"}]}}]`
	for _, row := range []struct {
		name, code, further string
		denied              string // the label that the Consent denies
		want                int
	}{
		{"as it is written", "1-8", security(actCode, "HIV"), coding(actCode, "HIV"), 404},
		{"implied by a rule", "7917-8", "", coding(actCode, "HIV"), 404},
		{"implied level", "7917-8", "", coding(confidentiality, "R"), 404},
		{"implied, contained", "1-8", contained, coding(actCode, "HIV"), 404},
		{
			"former name of the system", "1-8", security("http://hl7.org/fhir/v3/ActCode", "HIV"),
			coding(actCode, "HIV"), 404,
		},
		{
			"OID of the system", "1-8", security("urn:oid:2.16.840.1.113883.5.25", "R"),
			coding(confidentiality, "R"), 404,
		},
		{
			"OID in the Consent", "1-8", security(confidentiality, "R"),
			coding("urn:oid:2.16.840.1.113883.5.25", "R"), 404,
		},
		{"no system in the Consent", "1-8", security(actCode, "HIV"), coding("", "HIV"), 404},
		{"no system in the resource", "1-8", security("", "HIV"), coding(actCode, "HIV"), 404},
		{"unknown level", "1-8", security(confidentiality, "secret"), coding(confidentiality, "R"), 404},
		{"another label", "1-8", security(actCode, "PSY"), coding(actCode, "HIV"), 200},
		{"a lower level", "1-8", security(confidentiality, "N"), coding(confidentiality, "R"), 200},
	} {
		t.Run(row.name, func(t *testing.T) {
			e := newLabelEnv(t)
			put(t, e, "/Observation/o", aboutP("o", row.code, row.further))
			if w := e.Do("GET", "/Observation/o", treatment, ""); w.Code != 200 {
				t.Fatalf("without the Consent: %d", w.Code)
			}

			put(t, e, "/Consent/no", consentOf("no", "active", "p",
				`,"provision":{"type":"deny","securityLabel":[`+row.denied+`]}`))
			if w := e.Do("GET", "/Observation/o", treatment, ""); w.Code != row.want {
				t.Errorf("read: %d, want %d", w.Code, row.want)
			}

			found := 0
			if row.want == 200 {
				found = 1
			}
			if n := total(t, e.Do("GET", "/Observation?patient=p", treatment, "")); n != found {
				t.Errorf("found %d, want %d", n, found)
			}
		})
	}
}

// Consents that are not in force do not keep those that are from being found, however
// many they are.
//
// Covers: FS-302, FS-309
func TestFormerConsentsDoNotHideTheOneInForce(t *testing.T) {
	e := newLabelEnv(t)
	put(t, e, "/Observation/o", aboutP("o", "1-8", ""))
	former := fmt.Sprintf(`{"request":{"method":"POST","url":"Consent"},"resource":%s}`,
		strings.Replace(consentOf("x", "inactive", "p", ""), `"id":"x",`, "", 1))

	for range 11 {
		entries := strings.TrimSuffix(strings.Repeat(former+",", 100), ",")
		w := e.Do("POST", "/", treatment, `{"resourceType":"Bundle","type":"transaction","entry":[`+entries+`]}`)
		if w.Code != 200 {
			t.Fatalf("%d %s", w.Code, short(w))
		}
	}
	if w := e.Do("GET", "/Observation/o", treatment, ""); w.Code != 200 {
		t.Fatalf("without a Consent in force: %d", w.Code)
	}

	put(t, e, "/Consent/no", strings.Replace(consentOf("no", "active", "p", ""), "OPTIN", "OPTOUT", 1))
	if w := e.Do("GET", "/Observation/o", treatment, ""); w.Code != 404 {
		t.Errorf("read: %d", w.Code)
	}
	if n := total(t, e.Do("GET", "/Observation?patient=p", treatment, "")); n != 0 {
		t.Errorf("found %d", n)
	}
}

// What is denied has no Provenance that would show that it is there.
//
// Covers: FS-302, FS-304
func TestWhatIsDeniedHasNoProvenance(t *testing.T) {
	e := newLabelEnv(t)
	put(t, e, "/Observation/o", aboutP("o", "1-8", ""))
	put(t, e, "/Observation/other", aboutP("other", "2-6", ""))
	of := func(query string) int {
		return total(t, e.Do("GET", "/Provenance?_summary=count&"+query, treatment, ""))
	}
	if of("target=Observation/o") != 1 || of("patient=p") != 3 {
		t.Fatal("not every change has a Provenance")
	}

	put(t, e, "/Consent/no", consentOf("no", "active", "p",
		`,"provision":{"type":"deny","code":[{"coding":[{"system":"http://loinc.org","code":"1-8"}]}]}`))
	if n := of("target=Observation/o"); n != 0 {
		t.Errorf("%d of what is denied", n)
	}
	if n := of("target=Observation/other"); n != 1 {
		t.Errorf("%d of what is not", n)
	}
}

// More Consents than are evaluated deny everything, until enough of them are in force no
// longer.
//
// Covers: FS-302, FS-309
func TestMoreConsentsThanAreEvaluatedDeny(t *testing.T) {
	e := newLabelEnv(t)
	put(t, e, "/Observation/o", aboutP("o", "1-8", ""))
	read := func() int { return e.Do("GET", "/Observation/o", treatment, "").Code }
	filler := `,"language":"en","text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">` +
		strings.Repeat("x", 900_000) + `</div>"}`

	for i, want := range []int{200, 200, 404} {
		id := fmt.Sprint("c", i)
		put(t, e, "/Consent/"+id, consentOf(id, "active", "p", filler))
		if got := read(); got != want {
			t.Errorf("with %d: %d, want %d", i+1, got, want)
		}
	}

	put(t, e, "/Consent/c0", consentOf("c0", "inactive", "p", filler))
	if got := read(); got != 200 {
		t.Errorf("with one that is not in force: %d", got)
	}
}

// A new resource is collected, whatever makes it; a change of one that is there is not.
//
// Covers: FS-302, FS-309
func TestWhatIsNewIsCollected(t *testing.T) {
	const criteria = "/Observation?identifier=urn:x|none"
	for _, row := range []struct {
		name, method, path, id string
		want                   int
	}{
		{"create", "POST", "/Observation", "new", 403},
		{"update of a new id", "PUT", "/Observation/new", "new", 403},
		{"conditional update", "PUT", criteria, "new", 403},
		{"update of a deleted one", "PUT", "/Observation/gone", "gone", 403},
		{"update", "PUT", "/Observation/o", "o", 200},
	} {
		t.Run(row.name, func(t *testing.T) {
			e := newLabelEnv(t)
			for _, id := range []string{"o", "gone"} {
				put(t, e, "/Observation/"+id, aboutP(id, "1-8", ""))
			}
			if w := e.Do("DELETE", "/Observation/gone", treatment, ""); w.Code != 204 {
				t.Fatal(w.Code)
			}
			put(t, e, "/Consent/no", consentOf("no", "active", "p",
				`,"provision":{"type":"deny","action":[{"coding":[{"code":"collect"}]}]}`))

			w := e.Do(row.method, row.path, treatment, aboutP(row.id, "2-6", ""))
			if w.Code != row.want {
				t.Errorf("%d, want %d: %s", w.Code, row.want, short(w))
			}
		})
	}
}
