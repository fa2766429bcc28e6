package consent_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"fhirdest.example/fhir/async/asyncenv"
	"fhirdest.example/fhir/sample"
)

// plain are searches that no chain leads through: what they find is what they would
// find without Consents, less what may not be read.
var plain = []string{
	"/Patient?_count=1000",
	"/Observation?_count=1000&_sort=-date",
	"/Observation?_count=1000&category=laboratory",
	"/Encounter?_count=1000&status=finished",
	"/Condition?_count=1000&_sort=code",
	"/MedicationRequest?_count=1000",
	"/Device?_count=1000",
	"/DocumentReference?_count=1000",
	"/?_type=Procedure,Immunization,Coverage&_count=1000",
}

// led are those whose results depend on what else may be read.
var led = []string{
	"/Observation?patient.gender=female&_count=1000",
	"/Patient?_has:Observation:patient:code=718-7&_count=1000",
	"/Encounter?_include=Encounter:patient&_include=Encounter:participant&_count=1000",
	"/Patient?_revinclude=Condition:patient&_revinclude:iterate=Observation:encounter&_count=1000",
	"/Provenance?_include=Provenance:target&_count=1000",
	"/Observation/_history?_count=1000",
	"/_history?_count=1000",
}

// found lists what a Bundle has, as Type/id, in order; all is with what was brought
// along.
func found(t testing.TB, body []byte, all bool) (refs []string, total int) {
	t.Helper()
	var b struct {
		Total int `json:"total"`
		Entry []struct {
			Resource struct {
				ResourceType string `json:"resourceType"`
				ID           string `json:"id"`
			} `json:"resource"`
			Search struct {
				Mode string `json:"mode"`
			} `json:"search"`
		} `json:"entry"`
	}
	if err := json.Unmarshal(body, &b); err != nil {
		t.Fatal(err)
	}
	for _, e := range b.Entry {
		if e.Resource.ID != "" && (all || e.Search.Mode == "match") {
			refs = append(refs, e.Resource.ResourceType+"/"+e.Resource.ID)
		}
	}
	slices.Sort(refs)
	return slices.Compact(refs), b.Total
}

func pick[T any](rnd *rand.Rand, of ...T) T { return of[rnd.IntN(len(of))] }

// randomProvision writes a provision, at most so deep.
func randomProvision(rnd *rand.Rand, depth int) string {
	parts := []string{fmt.Sprintf(`"type":%q`, pick(rnd, "permit", "deny"))}
	for _, part := range []string{
		fmt.Sprintf(`"purpose":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActReason","code":%q}]`,
			pick(rnd, "TREAT", "ETREAT", "HMARKT", "HOPERAT", "HRESCH")),
		fmt.Sprintf(`"class":[{"system":"http://hl7.org/fhir/resource-types","code":%q}]`,
			pick(rnd, "Observation", "Encounter", "Patient", "Condition", "Device")),
		`"code":[{"coding":[{"system":"http://loinc.org","code":"` + pick(rnd, "718-7", "8867-4", "2339-0") + `"}]}]`,
		fmt.Sprintf(`"dataPeriod":{"start":"20%d-01-01"}`, 15+rnd.IntN(12)),
		fmt.Sprintf(`"actor":[{"role":{"coding":[{"code":%q}]},"reference":{"reference":%q}}]`,
			pick(rnd, "PRCP", "CST"), pick(rnd, "Organization/org-1", "Practitioner/prac-1", "Organization/org-2")),
		`"securityLabel":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActReason","code":"HTEST"}]`,
		`"action":[{"coding":[{"code":"` + pick(rnd, "access", "correct", "use") + `"}]}]`,
		`"modifierExtension":[{"url":"urn:x","valueBoolean":true}]`,
	} {
		if rnd.IntN(4) == 0 {
			parts = append(parts, part)
		}
	}
	if depth > 0 && rnd.IntN(2) == 0 {
		parts = append(parts, `"provision":[`+randomProvision(rnd, depth-1)+`,`+randomProvision(rnd, depth-1)+`]`)
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// randomTokens are parties that Consents may be about.
func randomTokens() []string {
	return []string{
		asyncenv.All + "; purpose=TREAT; org=http://hl7.org/fhir/sid/us-npi|1999999950",
		asyncenv.All + "; purpose=HMARKT; org=urn:oid:2.999",
		asyncenv.All + "; purpose=ETREAT",
		asyncenv.All,
		asyncenv.All + "; subject=s; user=Practitioner/prac-1; everyone",
		"system/Observation.rs?category=laboratory system/Patient.rs; purpose=HOPERAT",
	}
}

// TestResultsFollowRandomConsents asks what searches find, and what they bring along,
// under Consents made at random: it can be read by the same token, and it is all that
// the search finds otherwise of that; totals agree.
// Covers: FS-302, FS-304, case 236, case 238, case 249
func TestResultsFollowRandomConsents(t *testing.T) {
	e := newEnv(t, 4)
	whole := map[string][]string{}
	practitioner := asyncenv.All + "; subject=s; user=Practitioner/prac-1" // cleared for more than others
	for _, query := range append(plain, led...) {
		whole[query], _ = found(t, e.Do("GET", query, practitioner, "").Body.Bytes(), true)
	}

	rnd := rand.New(rand.NewPCG(7, 7))
	denied, seen := 0, 0
	for range 6 {
		for i := range 4 {
			body := strings.Replace(consentOf(fmt.Sprint("c", i), "active", sample.PatientID(i), `,"provision":`+
				randomProvision(rnd, 2)), `"OPTIN"`, `"`+pick(rnd, "OPTIN", "OPTOUT", "OPTIN", "NOPP")+`"`, 1)
			put(t, e, fmt.Sprint("/Consent/c", i), body)
		}
		for _, token := range randomTokens() {
			d, s := follows(t, e, token, whole)
			denied += d
			seen += s
		}
	}
	if denied < 1000 || seen < 1000 {
		t.Errorf("%d were denied and %d seen at all", denied, seen)
	}
}

// follows compares what a token finds with what it can read.
func follows(t *testing.T, e *asyncenv.Env, token string, whole map[string][]string) (denied, seen int) {
	t.Helper()
	reads := map[string]bool{}
	readable := func(ref string) bool {
		ok, known := reads[ref]
		if !known {
			status := e.Do("GET", "/"+ref, token, "").Code
			ok = status == 200 || status == 410 // its earlier versions may be read
			reads[ref] = ok
		}
		return ok
	}

	for query, all := range whole {
		w := e.Do("GET", query, token, "")
		if w.Code == 403 {
			continue // no scope
		}
		got, total := found(t, w.Body.Bytes(), true)
		for _, ref := range got {
			if !readable(ref) {
				t.Errorf("%s: %s finds %s, which may not be read", token, query, ref)
			}
		}
		if !slices.Contains(plain, query) {
			continue
		}

		var want []string
		for _, ref := range all {
			if readable(ref) {
				want = append(want, ref)
			}
		}
		denied += len(all) - len(want)
		seen += len(want)
		if strings.Contains(query, "_type=") && strings.Contains(token, "?") {
			continue // types without a scope are refused
		}
		if !slices.Equal(got, want) || total != len(want) {
			t.Errorf("%s: %s finds %d and a total of %d, of %d that may be read", token, query, len(got), total, len(want))
		}
	}
	return denied, seen
}
