package sample

const doseRate = "http://terminology.hl7.org/CodeSystem/dose-rate-type"

// medications writes what is prescribed, once by code and once by reference,
// and what was handed over.
func medications(w *writer, p *person) {
	h := p.heads
	coded := []any{"medicationCodeableConcept", concept(rxnorm, h.rxnorm, h.medicine)}
	w.put("MedicationRequest", p.sub("medreq", 1), usCore+"medicationrequest",
		p.requestMembers("active", "order", coded, "reportedBoolean", false)...)
	referred := []any{"medicationReference", refNamed("Medication", shelf[0].id, shelf[0].name)}
	w.put("MedicationRequest", p.sub("medreq", 2), usCore+"medicationrequest",
		p.requestMembers("completed", "order", referred, "reportedReference", p.ref())...)
	w.put("MedicationRequest", p.sub("medreq", 3), usCore+"medicationrequest",
		p.requestMembers("stopped", "plan", coded, "reportedBoolean", true)...)

	w.put("MedicationDispense", p.sub("disp", 1), usCore+"medicationdispense",
		p.dispenseMembers("completed", coded, 1)...)
	w.put("MedicationDispense", p.sub("disp", 2), usCore+"medicationdispense",
		p.dispenseMembers("in-progress", referred, 2)...)
}

func (p *person) dosage() obj {
	return obj{
		"text", p.heads.dosage,
		"timing", obj{
			"repeat",
			obj{"frequency", p.heads.perDay, "period", 1, "periodUnit", "d"},
		},
		"doseAndRate", arr{
			obj{
				"type",
				concept(doseRate, "ordered", "Ordered"),
				"doseQuantity",
				quantity("1", "dose", "{dose}"),
			},
		},
	}
}

// requestMembers are a prescription's; reported is a name and value.
func (p *person) requestMembers(
	status, intent string, medication []any, reported ...any,
) []any {
	members := []any{
		"text", narrative(p.heads.medicine, p.heads.dosage),
		"extension", arr{obj{"extension", arr{
			extension("medicationAdherence", "valueCodeableConcept",
				concept(snomed, "275928001", "Drugs - partial non-compliance (finding)")),
			extension("dateAsserted", "valueDateTime", instant(p.last())),
			extension("informationSource", "valueCodeableConcept",
				concept(snomed, "116154003", "Patient (person)")),
		}, "url", usCore + "medication-adherence"}},
		"status", status,
		"intent", intent,
		"category", arr{
			concept("http://terminology.hl7.org/CodeSystem/medicationrequest-category", "community",
				"Community"),
		},
	}
	members = append(append(members, reported...), medication...)
	return append(members,
		"subject", p.ref(),
		"encounter", p.encounterRef(visits),
		"authoredOn", day(p.last()),
		"requester", p.doctorRef(),
		"reasonCode", arr{concept(icd10cm, p.heads.icd, p.heads.name)},
		"reasonReference", arr{ref("Condition", p.sub("cond", 1))},
		"dosageInstruction", arr{p.dosage()},
		"dispenseRequest", obj{
			"numberOfRepeatsAllowed",
			3,
			"quantity",
			quantity("30", "dose", "{dose}"),
		})
}

func (p *person) dispenseMembers(status string, medication []any, request int) []any {
	members := append([]any{"status", status}, medication...)
	return append(members,
		"subject", p.ref(),
		"context", p.encounterRef(visits),
		"performer", arr{obj{"actor", p.doctorRef()}},
		"authorizingPrescription", arr{ref("MedicationRequest", p.sub("medreq", request))},
		"type", concept(actCode, "FFC", "First Fill - Complete"),
		"quantity", quantity("30", "dose", "{dose}"),
		"whenHandedOver", instant(p.last().AddDate(0, 0, 1)),
		"dosageInstruction", arr{p.dosage()})
}
