package sample

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"fhirdest.example/fhir/tree"
)

// golden is the SHA-256 of the default population, a line each. A change of
// the generator changes it; a change of machine, Go version or day must not.
const golden = "a60c154e4af872ba233a9a306d7a8c076eae54057d027613e752ac06df4c2e5e"

func TestPopulationIsTheSameEverywhere(t *testing.T) {
	sum := sha256.New()
	for _, b := range generate(t, DefaultPatients) {
		sum.Write(append(b.json, '\n'))
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != golden {
		t.Errorf("the population's SHA-256 is %s", got)
	}
}

func TestNothingMeasuredIsNegative(t *testing.T) {
	seen := 0
	for _, b := range parsed(t) {
		value := b.At("valueQuantity", "value").Literal()
		if value != "" {
			seen++
		}
		if strings.HasPrefix(value, "-") {
			t.Errorf("%s has the value %s", b.At("id").Text(), value)
		}
	}
	if seen == 0 {
		t.Error("nothing was measured")
	}
}

// profiles are those of US Core 7.0.0, by the end of their URL.
const profiles = `us-core-allergyintolerance us-core-average-blood-pressure us-core-blood-pressure us-core-bmi us-core-body-height
us-core-body-temperature us-core-body-weight us-core-care-experience-preference us-core-careplan us-core-careteam
us-core-condition-encounter-diagnosis us-core-condition-problems-health-concerns us-core-coverage us-core-diagnosticreport-lab
us-core-diagnosticreport-note us-core-documentreference us-core-encounter us-core-goal us-core-head-circumference
us-core-heart-rate us-core-immunization us-core-implantable-device us-core-location us-core-medication
us-core-medicationdispense us-core-medicationrequest us-core-observation-clinical-result us-core-observation-lab
us-core-observation-occupation us-core-observation-pregnancyintent us-core-observation-pregnancystatus
us-core-observation-screening-assessment us-core-observation-sexual-orientation us-core-organization us-core-patient
us-core-practitioner us-core-practitionerrole us-core-procedure us-core-provenance us-core-pulse-oximetry
us-core-questionnaireresponse us-core-relatedperson us-core-respiratory-rate us-core-servicerequest us-core-simple-observation
us-core-smokingstatus us-core-specimen us-core-treatment-intervention-preference us-core-vital-signs
head-occipital-frontal-circumference-percentile pediatric-bmi-for-age pediatric-weight-for-height`

func TestEveryProfileIsThere(t *testing.T) {
	count := map[string]int{}
	for _, b := range parsed(t) {
		for _, p := range b.At("meta", "profile").Each() {
			count[p.Text()[strings.LastIndexByte(p.Text(), '/')+1:]]++
		}
	}

	for _, p := range strings.Fields(profiles) {
		if count[p] == 0 {
			t.Errorf("nothing claims %s", p)
		}
	}
}

func parsed(t *testing.T) []*tree.Value {
	t.Helper()
	var all []*tree.Value
	for _, b := range generate(t, DefaultPatients) {
		root, err := tree.Parse(b.json)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, root)
	}
	return all
}

// searched lists, for each search that US Core 7.0.0 demands, the elements
// that it looks at. Each needs two values at least: a hit and a miss.
var searched = map[string][]string{
	"Patient":            {"id", "identifier.value", "name.family", "birthDate", "gender"},
	"AllergyIntolerance": {"patient.reference", "clinicalStatus.coding.code"},
	"Condition": {
		"subject.reference", "category.coding.code", "clinicalStatus.coding.code",
		"code.coding.code", "onsetDateTime", "abatementDateTime", "recordedDate",
	},
	"Observation": {
		"subject.reference", "category.coding.code", "code.coding.code", "effectiveDateTime",
		"status",
	},
	"MedicationRequest":  {"subject.reference", "intent", "status", "authoredOn"},
	"MedicationDispense": {"subject.reference", "status"},
	"Encounter":          {"id", "subject.reference", "period.start", "class.code", "type.coding.code", "status"},
	"DocumentReference":  {"id", "subject.reference", "type.coding.code", "status", "date"},
	"DiagnosticReport":   {"subject.reference", "category.coding.code", "code.coding.code", "effectiveDateTime"},
	"Procedure":          {"subject.reference", "status", "code.coding.code", "performedDateTime"},
	"Immunization":       {"patient.reference", "status", "occurrenceDateTime"},
	"CarePlan":           {"subject.reference"},
	"CareTeam":           {"subject.reference", "status", "participant.role.coding.code"},
	"Goal":               {"subject.reference", "startDate"},
	"Device":             {"patient.reference"},
	"Coverage":           {"beneficiary.reference"},
	"ServiceRequest": {
		"id", "subject.reference", "category.coding.code", "code.coding.code", "authoredOn",
		"status",
	},
	"QuestionnaireResponse": {"id", "subject.reference", "authored"},
	"RelatedPerson":         {"id", "patient.reference", "name.family"},
	"Specimen":              {"id", "subject.reference"},
	"Location":              {"name", "address.city", "address.state", "address.postalCode"},
	"Organization":          {"name", "address.city"},
	"Practitioner":          {"identifier.value", "name.family"},
	"PractitionerRole":      {"practitioner.reference", "specialty.coding.code"},
	"Consent":               {"provision.type"},
}

func TestEverySearchHasAHitAndAMiss(t *testing.T) {
	values := map[string]map[string]bool{}
	for _, r := range parsed(t) {
		name := r.Get("resourceType").Text()
		for _, path := range searched[name] {
			key := name + "." + path
			if values[key] == nil {
				values[key] = map[string]bool{}
			}
			gather(r, strings.Split(path, "."), values[key])
		}
	}

	for name, paths := range searched {
		for _, path := range paths {
			if n := len(values[name+"."+path]); n < 2 {
				t.Errorf("%s.%s has %d values", name, path, n)
			}
		}
	}
}

// gather notes the texts at a path, through arrays.
func gather(v *tree.Value, path []string, into map[string]bool) {
	list := v.Each()
	for i := range list {
		if len(path) == 0 {
			into[list[i].Literal()] = true
		} else {
			gather(list[i].Get(path[0]), path[1:], into)
		}
	}
}

func TestWhatReadersMustCopeWith(t *testing.T) {
	var all strings.Builder
	members := 0
	for _, r := range parsed(t) {
		all.WriteString(r.Raw + "\n")
		members += len(r.Get("member").Each())
	}

	if members < 2 {
		t.Errorf("a group of %d", members)
	}

	for what, text := range map[string]string{
		"data absent, as an extension": `"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason"`,
		"data absent, as a code":       `"dataAbsentReason":{`,
		"restricted":                   `"http://terminology.hl7.org/CodeSystem/v3-Confidentiality","code":"R"`,
		"very restricted":              `"http://terminology.hl7.org/CodeSystem/v3-Confidentiality","code":"V"`,
		"a consent that denies":        `"provision":{"type":"deny"`,
		"a medication by reference":    `"medicationReference":{`,
		"trailing zero":                `"value":80.50`,
		"somebody who has died":        `"deceasedDateTime":`,
	} {
		t.Run(what, func(t *testing.T) {
			if !strings.Contains(all.String(), text) {
				t.Errorf("the population has no example of: %s", what)
			}
		})
	}
}
