package sample

import (
	"crypto/sha1" // FHIR R4 asks for SHA-1 in Attachment.hash; nothing is trusted by it
	"encoding/base64"
	"time"
)

// inline is an attachment that carries its data.
func inline(contentType string, data []byte, title string) obj {
	return append(obj{
		"contentType",
		contentType,
		"data",
		base64.StdEncoding.EncodeToString(data),
	}, described(data, title)...)
}

// described are an attachment's size, hash and title.
func described(data []byte, title string) obj {
	sum := sha1.Sum(data)
	return obj{
		"size", len(data), "hash", base64.StdEncoding.EncodeToString(sum[:]), "title", title,
	}
}

const plainText = "text/plain; charset=utf-8"

// documents writes notes: one whose bytes are in a Binary, one that carries
// them, and, for every eighth patient, one that hardly anybody may read.
func documents(w *writer, p *person) {
	note := []byte("Progress note for " + p.name() + ", " + day(p.last()) + ".\n" +
		p.heads.name + ", stable. Continue " + p.heads.medicine + ": " + p.heads.dosage + ".\n")
	bin, doc := p.sub("note", 1), p.sub("doc", 1)
	w.put("Binary", bin, "",
		"contentType", plainText,
		"securityContext", ref("DocumentReference", doc),
		"data", base64.StdEncoding.EncodeToString(note))
	outside := append(obj{"contentType", plainText, "url", "Binary/" + bin},
		described(note, "Progress note")...)
	w.put("DocumentReference", doc, usCore+"documentreference",
		p.documentMembers(doc, "current", "11506-3", "Progress note", p.last(), outside)...)

	summary := inline(plainText, []byte("Discharge summary of "+p.name()+
		": recovered.\n"), "Discharge summary")
	w.put("DocumentReference", p.sub("doc", 2), usCore+"documentreference",
		p.documentMembers(p.sub("doc", 2), "superseded", "18842-5", "Discharge summary", p.visit(1),
			summary)...)
	if p.every(8) {
		secret := inline(
			plainText,
			[]byte("For the treating doctor only.\n"),
			"Psychotherapy note",
		)
		w.labelled("DocumentReference", p.sub("doc", 3), usCore+"documentreference",
			arr{
				coding(confidentiality, "V", "very restricted"),
				coding(actCode, "PSY", "psychiatry disorder information sensitivity"),
			},
			p.documentMembers(p.sub("doc", 3), "current", "34109-9", "Note", p.visit(1), secret)...)
	}
}

func (p *person) documentMembers(
	id, status, code, name string, at time.Time, attachment obj,
) []any {
	return []any{
		"text", narrative(name + " of " + day(at)),
		"identifier", arr{identifier(hospital+"document", id)},
		"status", status,
		"type", concept(loinc, code, name),
		"category", arr{
			concept("http://hl7.org/fhir/us/core/CodeSystem/us-core-documentreference-category",
				"clinical-note",
				"Clinical Note"),
		},
		"subject", p.ref(),
		"date", instant(at.Add(time.Hour)),
		"author", arr{p.doctorRef()},
		"custodian", p.clinicRef(),
		"content", arr{obj{"attachment", attachment,
			"format", coding("http://ihe.net/fhir/ihe.formatcode.fhir/CodeSystem/formatcode",
				"urn:ihe:iti:xds:2017:mimeTypeSufficient", "mimeType Sufficient")}},
		"context", obj{
			"encounter",
			arr{p.encounterRef(visits)},
			"period",
			period(at, at.Add(30*time.Minute)),
		},
	}
}

// consent writes what the patient allows. Every sixth, counted from the second, has
// denied everything and taken that back: the sample is there to be read.
func consent(w *writer, p *person) {
	status := "active"
	decision := "permit"
	rule := "OPTIN"
	name := "opt-in"
	if p.index%6 == 1 {
		status = "inactive"
		decision = "deny"
		rule = "OPTOUT"
		name = "opt-out"
	}
	w.put("Consent", p.sub("consent", 1), "",
		"text", narrative("Sharing of the record: "+decision),
		"status", status,
		"scope", concept("http://terminology.hl7.org/CodeSystem/consentscope", "patient-privacy",
			"Privacy Consent"),
		"category", arr{concept(loinc, "59284-0", "Consent Document")},
		"patient", p.ref(),
		"dateTime", instant(p.visit(0)),
		"performer", arr{p.ref()},
		"organization", arr{p.clinicRef()},
		"policyRule", concept(actCode, rule, name),
		"provision", obj{"type", decision, "period", obj{"start", day(p.visit(0))}})
}

// provenance records the author of the record and its sender.
func provenance(w *writer, p *person) {
	targets := arr{p.ref()}
	for _, t := range [][2]string{{"Encounter", "enc"}, {"Condition", "cond"}, {"AllergyIntolerance", "allergy"},
		{"MedicationRequest", "medreq"}, {"MedicationDispense", "disp"}, {"Observation", "height"}, {"Observation",
			"glucose"},
		{"DiagnosticReport", "report"}, {"Procedure", "proc"}, {"Immunization", "imm"}, {"CarePlan", "plan"},
		{"CareTeam", "team"},
		{"Goal", "goal"}, {"Device", "device"}, {"Coverage", "cov"}, {"ServiceRequest", "request"},
		{"QuestionnaireResponse", "answers"}, {"RelatedPerson", "rel"}, {"DocumentReference", "doc"}} {
		if t[0] == "Device" && p.child() {
			continue
		}
		targets = append(targets, ref(t[0], p.sub(t[1], 1)))
	}

	w.put("Provenance", p.sub("prov", 1), usCore+"provenance",
		"target", targets,
		"recorded", instant(p.last().Add(2*time.Hour)),
		"agent", arr{
			obj{"type", concept("http://terminology.hl7.org/CodeSystem/provenance-participant-type", "author",
				"Author"),
				"who", p.doctorRef(), "onBehalfOf", p.clinicRef()},
			obj{"type", concept("http://hl7.org/fhir/us/core/CodeSystem/us-core-provenance-participant-type",
				"transmitter", "Transmitter"),
				"who", p.clinicRef(), "onBehalfOf", p.clinicRef()}})
}
