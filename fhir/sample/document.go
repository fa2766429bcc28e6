package sample

import (
	"crypto/sha1" // FHIR R4 asks for SHA-1 in Attachment.hash; nothing is trusted by it
	"encoding/base64"
)

// document writes a progress note: its bytes as a Binary, and the reference
// to it with size and hash.
func document(w *writer, p *person) {
	note := []byte("Progress note for " + p.name() + ", " + day(p.visit(visits-1)) + ".\n" +
		p.heads.name + ", stable. Continue " + p.heads.medicine + ": " + p.heads.dosage + ".\n")
	sum := sha1.Sum(note)
	bin, doc, last := p.sub("note", 1), p.sub("doc", 1), visits-1
	w.put("Binary", bin, "",
		"contentType", "text/plain; charset=utf-8",
		"securityContext", ref("DocumentReference", doc),
		"data", base64.StdEncoding.EncodeToString(note))
	w.put("DocumentReference", doc, usCore+"documentreference",
		"identifier", arr{identifier(hospital+"document", doc)},
		"status", "current",
		"type", concept(loinc, "11506-3", "Progress note"),
		"category", arr{concept("http://hl7.org/fhir/us/core/CodeSystem/us-core-documentreference-category", "clinical-note", "Clinical Note")},
		"subject", p.ref(),
		"date", instant(p.visit(last)),
		"author", arr{ref("Practitioner", p.doctor.id)},
		"content", arr{obj{
			"attachment", obj{"contentType", "text/plain; charset=utf-8", "url", "Binary/" + bin, "size", len(note),
				"hash", base64.StdEncoding.EncodeToString(sum[:]), "title", "Progress note"},
			"format", coding("http://ihe.net/fhir/ihe.formatcode.fhir/CodeSystem/formatcode", "urn:ihe:iti:xds:2017:mimeTypeSufficient", "mimeType Sufficient")}},
		"context", obj{"encounter", arr{ref("Encounter", p.sub("enc", last+1))},
			"period", period(p.visit(last), p.visit(last))})
}
