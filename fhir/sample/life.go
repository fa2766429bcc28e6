package sample

import (
	"fmt"
	"time"
)

// visits is how many yearly encounters each record holds.
const visits = 3

// illness is what a patient lives with, and what is taken for it.
type illness struct {
	snomed, name, icd        string
	rxnorm, medicine, dosage string
}

var illnesses = []illness{
	{"38341003", "Hypertension", "I10", "314076", "lisinopril 10 MG Oral Tablet", "One tablet by mouth once a day"},
	{"44054006", "Type 2 diabetes mellitus", "E11.9", "861007", "metformin hydrochloride 500 MG Oral Tablet", "One tablet by mouth twice a day"},
	{"195967001", "Asthma", "J45.909", "745679", "200 ACTUAT albuterol 0.09 MG/ACTUAT Metered Dose Inhaler", "Two puffs every six hours as needed"},
}

// life writes one patient's whole record.
func life(w *writer, p *person) {
	patient(w, p)
	condition(w, p)
	for n := range visits {
		at := p.visit(n)
		encounter(w, p, n, at)
		vitals(w, p, n, at)
	}
	medicationRequest(w, p)
	document(w, p)
}

// visit is when the nth encounter began, oldest first.
func (p *person) visit(n int) time.Time {
	last := today.AddDate(0, -p.index%5-8, -p.index%27)
	return last.AddDate(n-visits+1, 0, 0).Add(time.Duration(8*60+p.index%32*15) * time.Minute)
}

func patient(w *writer, p *person) {
	gender := "male"
	if p.female {
		gender = "female"
	}
	var deceased any
	if !p.died.IsZero() {
		deceased = instant(p.died)
	}
	w.put("Patient", p.id, usCore+"patient",
		"text", narrative(p.name(), "born "+day(p.born)+", "+gender),
		"identifier", arr{
			obj{"use", "usual", "type", concept(v20203, "MR", "Medical record number"),
				"system", hospital + "mrn", "value", fmt.Sprintf("MRN%06d", p.index+1)},
			obj{"type", concept(v20203, "SS", "Social Security number"),
				"system", ssn, "value", fmt.Sprintf("666-%02d-%04d", 10+p.index/9999%90, 1+p.index%9999)},
		},
		"active", true,
		"name", arr{obj{"use", "official", "text", p.name(), "family", p.family, "given", arr{p.given, p.middle}}},
		"telecom", arr{phone(p.area, p.index), p.email()},
		"gender", gender,
		"birthDate", day(p.born),
		"deceasedDateTime", deceased,
		"address", arr{address(p.home)},
		"communication", arr{obj{"language", concept("urn:ietf:bcp:47", "en-US", "English (United States)"), "preferred", true}},
		"generalPractitioner", arr{ref("Practitioner", p.doctor.id)})
}

func condition(w *writer, p *person) {
	h := p.heads
	w.put("Condition", p.sub("cond", 1), usCore+"condition-problems-health-concerns",
		"text", narrative(h.name+", active"),
		"clinicalStatus", obj{"coding", arr{coding("http://terminology.hl7.org/CodeSystem/condition-clinical", "active", "Active")}},
		"verificationStatus", obj{"coding", arr{coding("http://terminology.hl7.org/CodeSystem/condition-ver-status", "confirmed", "Confirmed")}},
		"category", arr{concept("http://terminology.hl7.org/CodeSystem/condition-category", "problem-list-item", "Problem List Item")},
		"code", obj{"coding", arr{coding(snomed, h.snomed, h.name), coding(icd10cm, h.icd, "")}, "text", h.name},
		"subject", p.ref(),
		"onsetDateTime", day(p.visit(0)),
		"recordedDate", day(p.visit(0)))
}

func encounter(w *writer, p *person, n int, at time.Time) {
	end := at.Add(30 * time.Minute)
	w.put("Encounter", p.sub("enc", n+1), usCore+"encounter",
		"identifier", arr{obj{"use", "official", "system", hospital + "encounter", "value", p.sub("enc", n+1)}},
		"status", "finished",
		"class", coding(actCode, "AMB", "ambulatory"),
		"type", arr{concept(snomed, "162673000", "General examination of patient (procedure)")},
		"subject", p.ref(),
		"participant", arr{obj{
			"type", arr{concept("http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "PPRF", "primary performer")},
			"period", period(at, end),
			"individual", refNamed("Practitioner", p.doctor.id, p.doctor.given+" "+p.doctor.family)}},
		"period", period(at, end),
		"location", arr{obj{"location", refNamed("Location", p.clinic.loc, p.clinic.room)}},
		"serviceProvider", refNamed("Organization", p.clinic.org, p.clinic.name))
}

func medicationRequest(w *writer, p *person) {
	h, last := p.heads, visits-1
	w.put("MedicationRequest", p.sub("medreq", 1), usCore+"medicationrequest",
		"text", narrative(h.medicine, h.dosage),
		"status", "active",
		"intent", "order",
		"category", arr{concept("http://terminology.hl7.org/CodeSystem/medicationrequest-category", "community", "Community")},
		"reportedBoolean", false,
		"medicationCodeableConcept", concept(rxnorm, h.rxnorm, h.medicine),
		"subject", p.ref(),
		"encounter", ref("Encounter", p.sub("enc", last+1)),
		"authoredOn", day(p.visit(last)),
		"requester", ref("Practitioner", p.doctor.id),
		"dosageInstruction", arr{obj{"text", h.dosage}})
}
