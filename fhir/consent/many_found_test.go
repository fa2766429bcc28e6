package consent_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"fhirdest.example/fhir/sample"
)

// limits are provisions, and what they do not let through for marketing.
var limits = []string{
	noMarketing,
	`,"provision":{"type":"permit","class":[{"system":"http://hl7.org/fhir/resource-types","code":"Observation"}],
		"provision":[{"type":"deny","class":[{"system":"http://hl7.org/fhir/resource-types","code":"Encounter"}]}]}`,
	`,"provision":{"type":"deny","class":[{"system":"http://hl7.org/fhir/resource-types","code":"Observation"}],
		"purpose":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActReason","code":"HMARKT"}],
		"provision":[{"type":"permit","code":[{"coding":[{"system":"http://loinc.org","code":"8867-4"}]}]}]}`,
	`,"provision":{"type":"deny","period":{"end":"2001-01-01"}}`,
	`,"provision":{"type":"permit","provision":[{"type":"deny",
		"actor":[{"role":{"coding":[{"code":"AUT"}]},"reference":{"reference":"Practitioner/none"}}]}]}`,
	`,"modifierExtension":[{"url":"urn:example:unknown","valueBoolean":true}]`,
}

// A search that finds much decides as a read of each resource does, whatever Consents
// there are: those that permit everything, among them, cost no look at the resources.
// Covers: FS-302, FS-304
func TestSearchesThatFindMuchDecideAsReads(t *testing.T) {
	const patients = 40
	e := newEnv(t, patients)
	for i := range limits { // whoever is linked to a patient is in that record too
		id := fmt.Sprintf("linked%d", i)
		put(t, e, "/Patient/"+id, fmt.Sprintf(
			`{"resourceType":"Patient","id":%q,"link":[{"type":"seealso","other":{"reference":"Patient/%s"}}]}`,
			id, sample.PatientID(i+1)))
	}

	for i, limit := range limits {
		p := sample.PatientID(i + 1)
		put(t, e, fmt.Sprintf("/Consent/limit%d", i), consentOf(fmt.Sprintf("limit%d", i), "active", p, limit))
	}

	var others []string
	for range 2 * patients {
		others = append(others, `{"resource":{"resourceType":"Patient"},"request":{"method":"POST","url":"Patient"}}`)
	}
	if w := e.Do("POST", "/", treatment, bundle("transaction", others...)); w.Code != 200 {
		t.Fatalf("%d %s", w.Code, short(w))
	}

	for typ, query := range map[string]string{
		"Patient":      "",
		"Observation":  "code=8867-4,29463-7&",
		"Encounter":    "",
		"Device":       "",
		"Practitioner": "",
	} {
		for name, token := range map[string]string{"marketing": marketing, "treatment": treatment} {
			t.Run(typ+" for "+name, func(t *testing.T) {
				want := idsOf(t, e.Do("GET", "/"+typ+"?"+query+"_count=1000", treatment, "").Body.Bytes())
				for i := range limits { // what treatment does not find either
					p := sample.PatientID(i + 1)
					for _, id := range []string{p, p + "-enc-1", p + "-heart-1", p + "-device", fmt.Sprintf("linked%d", i)} {
						if !slices.Contains(want, id) {
							want = append(want, id)
						}
					}
				}

				want = slices.DeleteFunc(want, func(id string) bool {
					return e.Do("GET", "/"+typ+"/"+id, token, "").Code != 200
				})

				w := e.Do("GET", "/"+typ+"?"+query+"_count=1000", token, "")
				got := idsOf(t, w.Body.Bytes())
				slices.Sort(want)
				slices.Sort(got)
				if !slices.Equal(got, want) || len(got) == 0 {
					t.Errorf("%d are found, %d are read: %s", len(got), len(want), strings.Join(got, " "))
				}
			})
		}
	}
}

// idsOf returns the ids of the resources in a Bundle.
func idsOf(t testing.TB, bundle []byte) []string {
	t.Helper()
	var b struct {
		Entry []struct {
			Resource struct {
				ID string `json:"id"`
			} `json:"resource"`
		} `json:"entry"`
	}
	if err := json.Unmarshal(bundle, &b); err != nil {
		t.Fatal(err)
	}

	var ids []string
	for _, e := range b.Entry {
		ids = append(ids, e.Resource.ID)
	}
	return ids
}
