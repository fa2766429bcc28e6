package sample

import (
	"fmt"
	"time"
)

// The code systems and naming systems that the population uses.
const (
	actReason       = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
	actCode         = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
	confidentiality = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
	loinc           = "http://loinc.org"
	snomed          = "http://snomed.info/sct"
	rxnorm          = "http://www.nlm.nih.gov/research/umls/rxnorm"
	icd10cm         = "http://hl7.org/fhir/sid/icd-10-cm"
	ucum            = "http://unitsofmeasure.org"
	v20203          = "http://terminology.hl7.org/CodeSystem/v2-0203"
	ssn             = "http://hl7.org/fhir/sid/us-ssn"
	npi             = "http://hl7.org/fhir/sid/us-npi"
	hospital        = "http://hospital.example.org/"
	usCore          = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-"
	obsCategory     = "http://terminology.hl7.org/CodeSystem/observation-category"
)

func coding(system, code, display string) obj {
	return obj{"system", system, "code", code, "display", display}
}

// concept is a CodeableConcept of one coding, its display as text.
func concept(system, code, display string) obj {
	return obj{"coding", arr{coding(system, code, display)}, "text", display}
}

func ref(resourceType, id string) obj {
	return obj{"reference", resourceType + "/" + id}
}

func refNamed(resourceType, id, display string) obj {
	return obj{"reference", resourceType + "/" + id, "display", display}
}

func identifier(system, value string) obj {
	return obj{"system", system, "value", value}
}

func quantity(value, unit, code string) obj {
	return obj{"value", num(value), "unit", unit, "system", ucum, "code", code}
}

func extension(url string, valueName string, value any) obj {
	return obj{"url", url, valueName, value}
}

// absentData is the extension in the place of a value that is not known.
func absentData(reason string) obj {
	return extension("http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode", reason)
}

// narrative is a generated text of plain paragraphs; lines hold no markup.
func narrative(lines ...string) obj {
	div := `<div xmlns="http://www.w3.org/1999/xhtml">`
	for _, l := range lines {
		div += "<p>" + l + "</p>"
	}
	return obj{"status", "generated", "div", div + "</div>"}
}

func day(t time.Time) string {
	return t.Format("2006-01-02")
}

func instant(t time.Time) string {
	return t.Format("2006-01-02T15:04:05Z")
}

func period(from, to time.Time) obj {
	return obj{"start", instant(from), "end", instant(to)}
}

// decimal writes hundredths, tenths or whole numbers with that many digits.
func decimal(v float64, digits int) string {
	return fmt.Sprintf("%.*f", digits, v)
}

func address(a place) obj {
	return obj{"use", "home", "type", "physical", "line", arr{a.line}, "city", a.city, "state", a.state,
		"postalCode", a.zip, "country", "US"}
}

// phone is a number that no exchange gives out: 555-0100 to 555-0199.
func phone(area, last int) obj {
	return obj{
		"system", "phone", "value", fmt.Sprintf("(%03d) 555-01%02d", area, last%100), "use",
		"home",
	}
}

func email(local string) obj {
	return obj{"system", "email", "value", local + "@example.org", "use", "home"}
}
