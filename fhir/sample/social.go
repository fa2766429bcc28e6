package sample

import "time"

const odh = "http://terminology.hl7.org/CodeSystem/PHOccupationalDataForHealthODH"

var socialHistory = arr{concept(obsCategory, "social-history", "Social History")}

// told is the head of an observation that somebody was asked about.
func (p *person) told(category arr, code obj, when any) []any {
	members := []any{
		"status", "final", "category", category, "code", code, "subject", p.ref(), "encounter",
		p.encounterRef(visits),
	}

	switch when := when.(type) {
	case time.Time:
		return append(members, "effectiveDateTime", instant(when))
	default:
		return append(members, "effectivePeriod", when)
	}
}

// social writes what was asked about work, habits and wishes.
func social(w *writer, p *person) {
	smoking(w, p)
	w.put("Observation", p.sub("occupation", 1), usCore+"observation-occupation",
		append(p.told(socialHistory, concept(loinc, "11341-5", "History of Occupation"),
			obj{"start", day(p.born.AddDate(18, 0, 0))}),
			"valueCodeableConcept", concept(odh, "31-1014.00.007136",
				"Certified Nursing Assistant (CNA) [Nursing Assistants]"),
			"component", arr{obj{"code", concept(loinc, "86188-0", "History of Occupation Industry"),
				"valueCodeableConcept", concept(odh, "621610.008495", "Home nursing services")}})...)

	w.put("Observation", p.sub("orientation", 1), usCore+"observation-sexual-orientation",
		append(p.told(socialHistory, concept(loinc, "76690-7", "Sexual orientation"), p.last()),
			"valueCodeableConcept", concept(absentReason, "asked-declined", "Asked But Declined"))...)
	if p.female || p.every(25) {
		pregnancy(w, p)
	}
	preference := func(kind, profile, category, code, display, text string) {
		w.put("Observation", p.sub(kind, 1), usCore+profile, append(
			p.told(arr{concept(usCoreCategory, category, display)}, concept(loinc, code, display), p.last()),
			"performer", arr{p.ref()}, "valueString", text)...)
	}
	preference("treatpref", "treatment-intervention-preference", "treatment-intervention-preference", "75773-2",
		"Goals, preferences, and priorities for medical treatment [Reported]", "Tablets rather than injections, "+
			"if there is a choice.")

	preference("carepref", "care-experience-preference", "care-experience-preference", "95541-9",
		"Care experience preference", "A window seat, and quiet in the evening.")
	w.put("Observation", p.sub("function", 1), usCore+"simple-observation", append(
		p.told(arr{
			concept(usCoreCategory, "functional-status", "Functional Status"),
		}, obj{"text", "Dressing"}, p.last()),
		"performer", arr{p.doctorRef()},
		"valueCodeableConcept", concept(snomed, "129035000", "Independent with dressing (finding)"),
		"derivedFrom", arr{ref("QuestionnaireResponse", p.sub("answers", 1))})...)
}

func smoking(w *writer, p *person) {
	never := concept(loinc, "LA18978-9", "Never smoker")
	if p.every(3) {
		never = concept(snomed, "428041000124106", "Occasional tobacco smoker")
	}
	w.put("Observation", p.sub("smoking", 1), usCore+"smokingstatus",
		append(p.told(socialHistory, concept(loinc, "72166-2", "Tobacco smoking status"), p.last()),
			"valueCodeableConcept", never)...)
	if p.every(3) {
		w.put("Observation", p.sub("smoking", 2), usCore+"smokingstatus",
			append(p.told(socialHistory,
				concept(snomed, "401201003", "Cigarette pack-years (observable entity)"),
				p.last()),
				"valueQuantity", quantity("6.5", "pack-years", "{pack-years}"))...)
	}
}

func pregnancy(w *writer, p *person) {
	w.put("Observation", p.sub("pregnancy", 1), usCore+"observation-pregnancystatus",
		append(p.told(socialHistory, concept(loinc, "82810-3", "Pregnancy status"), p.last()),
			"valueCodeableConcept", concept(nullFlavor, "UNK", "unknown"))...)
	w.put("Observation", p.sub("pregnancy", 2), usCore+"observation-pregnancyintent",
		append(p.told(socialHistory,
			concept(loinc, "86645-9", "Pregnancy intention in the next year - Reported"),
			p.last()),
			"valueCodeableConcept", concept(nullFlavor, "UNK", "unknown"))...)
}

// screening writes the answers to a questionnaire and the findings drawn from
// them: the panel, its members, and one that was not answered.
func screening(w *writer, p *person) {
	often := coding(loinc, "LA28397-0", "Often true")
	answers := p.sub("answers", 1)
	item := func(link, text string) obj {
		return obj{"linkId", link, "text", text, "answer", arr{obj{"valueCoding", often}}}
	}
	w.put("QuestionnaireResponse", answers, usCore+"questionnaireresponse",
		"identifier", identifier(hospital+"answers", answers),
		"questionnaire", questionnaire,
		"_questionnaire", obj{"extension", arr{
			extension("http://hl7.org/fhir/StructureDefinition/display", "valueString", "Hunger Vital Sign"),
			extension(usCore+"extension-questionnaire-uri", "valueUri", hospital+"forms/hunger")}},
		"status", "completed",
		"subject", p.ref(),
		"authored", instant(p.last()),
		"author", p.doctorRef(),
		"item", arr{obj{"linkId", "hunger", "text", "Food in the last year", "item", arr{
			obj{"linkId", "88122-7", "text", "Worried that food would run out", "answer", arr{obj{"valueCoding",
				often, "item", arr{
					obj{
						"linkId", "why", "text", "Reason", "answer",
						arr{obj{"valueString", "Hours were cut at work"}},
					}}}}},
			item("88123-5", "Food did not last")}},
			obj{"linkId", "88124-3", "text", "Food insecurity risk", "answer", arr{obj{
				"valueCoding", coding(loinc, "LA19952-3", "At risk"), "item", arr{
					obj{
						"linkId", "help", "text", "Help wanted", "answer",
						arr{obj{"valueBoolean", true}},
					}}}}}})

	findings(w, p, answers)
}

func findings(w *writer, p *person, answers string) {
	survey := arr{
		concept(obsCategory, "survey", "Survey"),
		concept(usCoreCategory, "sdoh", "SDOH"),
	}
	derived := arr{ref("QuestionnaireResponse", answers)}
	put := func(n int, code, name string, rest ...any) {
		members := append(
			p.told(survey, concept(loinc, code, name), p.last()),
			"performer",
			arr{p.doctorRef()},
		)
		w.put("Observation", p.sub("screen", n), usCore+"observation-screening-assessment",
			append(members, rest...)...)
	}
	put(1, "88122-7", "Food insecurity: worried food would run out", "valueCodeableConcept",
		concept(loinc, "LA28397-0", "Often true"), "derivedFrom", derived)

	put(2, "88123-5", "Food insecurity: food did not last", "dataAbsentReason",
		concept(absentReason, "asked-declined", "Asked But Declined"), "derivedFrom", derived)
	put(3, "88121-9", "Hunger Vital Sign [HVS]", "hasMember", arr{
		ref("Observation", p.sub("screen", 1)),
		ref("Observation", p.sub("screen", 2)),
	}, "derivedFrom", derived)
}
