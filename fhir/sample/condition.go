package sample

import "time"

const (
	clinicalStatus     = "http://terminology.hl7.org/CodeSystem/condition-clinical"
	verificationStatus = "http://terminology.hl7.org/CodeSystem/condition-ver-status"
	conditionCategory  = "http://terminology.hl7.org/CodeSystem/condition-category"
	usCoreCategory     = "http://hl7.org/fhir/us/core/CodeSystem/us-core-category"
)

// state is a CodeableConcept of one coding without text.
func state(system, code string) obj {
	return obj{"coding", arr{obj{"system", system, "code", code}}}
}

// conditions writes the problem list, a health concern, and what visits were
// for. Every fourth patient has one that only cleared readers may see.
func conditions(w *writer, p *person) {
	problem := arr{concept(conditionCategory, "problem-list-item", "Problem List Item")}
	w.put("Condition", p.sub("cond", 1), usCore+"condition-problems-health-concerns",
		p.conditionMembers("active", problem, p.heads.icd, p.heads.name, p.visit(0), time.Time{})...)
	concern := arr{concept("http://hl7.org/fhir/us/core/CodeSystem/condition-category", "health-concern",
		"Health Concern"),
		concept(usCoreCategory, "sdoh", "SDOH")}
	w.put("Condition", p.sub("cond", 2), usCore+"condition-problems-health-concerns",
		p.conditionMembers("active", concern, "Z59.41", "Food insecurity", p.visit(1), time.Time{})...)

	diagnosis := arr{concept(conditionCategory, "encounter-diagnosis", "Encounter Diagnosis")}
	w.put("Condition", p.sub("cond", 3), usCore+"condition-encounter-diagnosis",
		append(p.conditionMembers("resolved", diagnosis, "J06.9",
			"Acute upper respiratory infection, unspecified",
			p.visit(1), p.visit(1).AddDate(0, 0, 14)),
			"encounter", p.encounterRef(2))...)

	w.put("Condition", p.sub("cond", 4), usCore+"condition-problems-health-concerns",
		p.conditionMembers("resolved", problem, "S93.401A", "Sprain of unspecified ligament of right ankle",
			p.visit(0), p.visit(0).AddDate(0, 1, 0))...)

	if p.every(4) && !p.child() {
		labels := arr{
			coding(confidentiality, "R", "restricted"),
			coding(actCode, "PSY", "psychiatry disorder information sensitivity"),
		}
		w.labelled("Condition", p.sub("cond", 5), usCore+"condition-problems-health-concerns", labels,
			p.conditionMembers("active", problem, "F32.A", "Depression, unspecified", p.visit(1),
				time.Time{})...)
	}
}

func (p *person) conditionMembers(
	status string, category arr, icd, name string, onset, abated time.Time,
) []any {
	members := []any{
		"text", narrative(name + ", " + status),
		"extension", arr{
			extension("http://hl7.org/fhir/StructureDefinition/condition-assertedDate", "valueDateTime",
				day(onset.AddDate(0, 0, 1))),
		},
		"clinicalStatus", state(clinicalStatus, status),
		"verificationStatus", state(verificationStatus, "confirmed"),
		"category", category,
		"code", concept(icd10cm, icd, name),
		"subject", p.ref(),
		"onsetDateTime", day(onset),
	}

	if !abated.IsZero() {
		members = append(members, "abatementDateTime", day(abated))
	}
	return append(
		members,
		"recordedDate",
		day(onset.AddDate(0, 0, 2)),
		"recorder",
		p.doctorRef(),
	)
}

// allergies writes one or two allergies, each with what it does.
func allergies(w *writer, p *person) {
	substances := []obj{concept(snomed, "763875007", "Product containing sulfonamide (product)"),
		concept(snomed, "111088007", "Latex (substance)"), concept(snomed, "762952008", "Peanuts")}
	for n := range 1 + p.index%2 {
		status := "active"
		if n == 1 {
			status = "inactive"
		}
		what := substances[(p.index+n)%len(substances)]
		w.put("AllergyIntolerance", p.sub("allergy", n+1), usCore+"allergyintolerance",
			"text", narrative("Allergy, "+status),
			"clinicalStatus", state("http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical",
				status),
			"verificationStatus", state("http://terminology.hl7.org/CodeSystem/allergyintolerance-verification",
				"confirmed"),
			"category", arr{"environment"},
			"criticality", "low",
			"code", what,
			"patient", p.ref(),
			"recordedDate", day(p.visit(0)),
			"reaction", arr{
				obj{
					"manifestation",
					arr{concept(snomed, "247472004", "Hives")},
					"severity",
					"mild",
				},
			})
	}
}

// procedures writes counselling, an X-ray, and a vaccination given and one
// refused.
func procedures(w *writer, p *person) {
	w.put("Procedure", p.sub("proc", 1), usCore+"procedure",
		"status", "completed",
		"code", concept(icd10pcs, "HZ30ZZZ", "Individual Counseling for Substance Abuse Treatment, Cognitive"),
		"subject", p.ref(),
		"encounter", p.encounterRef(visits),
		"performedDateTime", instant(p.last()),
		"performer", arr{obj{"actor", p.doctorRef()}},
		"reasonCode", arr{concept(icd10cm, p.heads.icd, p.heads.name)},
		"reasonReference", arr{ref("Condition", p.sub("cond", 1))})

	w.put("Procedure", p.sub("proc", 2), usCore+"procedure",
		"status", "in-progress",
		"basedOn", arr{ref("ServiceRequest", p.sub("request", 1))},
		"code", concept(icd10pcs, "BW03ZZZ", "Plain Radiography of Chest"),
		"subject", p.ref(),
		"encounter", p.encounterRef(1),
		"performedPeriod", period(p.visit(0), p.visit(0).Add(time.Hour)))

	vaccine := concept("http://hl7.org/fhir/sid/cvx", "197", "influenza, high-dose, quadrivalent")
	given := []any{"patient", p.ref(), "encounter", p.encounterRef(visits), "occurrenceDateTime", instant(p.last()),
		"primarySource", true, "location", ref("Location", p.clinic.loc)}
	w.put("Immunization", p.sub("imm", 1), usCore+"immunization",
		append([]any{"status", "completed", "vaccineCode", vaccine},
			append(given, "lotNumber", "EX"+p.id)...)...)
	refused := concept("http://terminology.hl7.org/CodeSystem/v3-ActReason", "PATOBJ", "patient objection")
	w.put("Immunization", p.sub("imm", 2), usCore+"immunization",
		append([]any{
			"status", "not-done", "statusReason", refused, "vaccineCode", vaccine,
		}, given...)...)
}
