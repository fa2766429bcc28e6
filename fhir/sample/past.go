package sample

import "time"

// past writes what the record does not show any more: for every fifth patient
// an allergy entered for the wrong person and deleted, and a weight that was
// preliminary, corrected, and then deleted and entered anew.
func past(w *writer, p *person) {
	if !p.every(5) {
		return
	}

	wrong := p.sub("allergy", 9)
	w.earlier("AllergyIntolerance", wrong, usCore+"allergyintolerance",
		"clinicalStatus", state("http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical", "active"),
		"code", concept(snomed, "762952008", "Peanuts"),
		"patient", p.ref(),
		"reaction", arr{obj{"manifestation", arr{concept(snomed, "271807003", "skin rash")}}})

	w.gone("AllergyIntolerance", wrong)

	m, id := measures[1], p.sub("weighed", 1)
	for _, v := range []struct{ status, value string }{
		{"preliminary", "81.0"},
		{"final", "80.5"},
		{"corrected", "80.50"},
	} {
		w.earlier("Observation", id, m.url(), p.weighing(m, v.status, v.value)...)
	}

	w.gone("Observation", id)
	w.earlier("Observation", id, m.url(), p.weighing(m, "entered-in-error", "805")...)
	w.put("Observation", id, m.url(), p.weighing(m, "amended", "80.50")...)
}

func (p *person) weighing(m measure, status, value string) []any {
	members := p.vitalHead(m, visits-1)
	members[1] = status
	return append(members, "issued", instant(p.last().Add(time.Hour)), "valueQuantity",
		quantity(value, m.unit, m.symbol))
}
