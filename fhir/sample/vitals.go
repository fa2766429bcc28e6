package sample

import "time"

// measure is one vital sign: its US Core profile, LOINC code and unit.
type measure struct {
	kind, profile      string
	codes              arr
	text, unit, symbol string
	digits             int
	mean, spread       float64
}

var measures = []measure{
	{"height", "body-height", arr{coding(loinc, "8302-2", "Body height")}, "Body height", "cm", "cm", 1, 170, 10},
	{"weight", "body-weight", arr{coding(loinc, "29463-7", "Body weight")}, "Body weight", "kg", "kg", 1, 75, 12},
	{"bmi", "bmi", arr{coding(loinc, "39156-5", "Body mass index (BMI) [Ratio]")}, "Body mass index", "kg/m2", "kg/m2", 2, 26, 3},
	{"heart", "heart-rate", arr{coding(loinc, "8867-4", "Heart rate")}, "Heart rate", "beats/minute", "/min", 0, 72, 9},
	{"resp", "respiratory-rate", arr{coding(loinc, "9279-1", "Respiratory rate")}, "Respiratory rate", "breaths/minute", "/min", 0, 15, 2},
	{"temp", "body-temperature", arr{coding(loinc, "8310-5", "Body temperature")}, "Body temperature", "degrees Celsius", "Cel", 1, 36.8, 0.3},
	{"spo2", "pulse-oximetry", arr{coding(loinc, "59408-5", "Oxygen saturation in Arterial blood by Pulse oximetry"),
		coding(loinc, "2708-6", "Oxygen saturation in Arterial blood")}, "Oxygen saturation", "%", "%", 0, 97, 1},
}

var vitalSigns = arr{concept(obsCategory, "vital-signs", "Vital Signs")}

// vitals writes what is measured at each visit.
func vitals(w *writer, p *person, n int, at time.Time) {
	for _, m := range measures {
		value := m.mean + m.spread*clamp(p.r.NormFloat64())
		observation(w, p, n, at, m, "valueQuantity", quantity(decimal(value, m.digits), m.unit, m.symbol))
	}
	pressure := measure{kind: "bp", profile: "blood-pressure", text: "Blood pressure",
		codes: arr{coding(loinc, "85354-9", "Blood pressure panel with all children optional")}}
	systolic := 112 + p.r.IntN(40)
	observation(w, p, n, at, pressure, "component", arr{
		obj{"code", concept(loinc, "8480-6", "Systolic blood pressure"), "valueQuantity", quantity(decimal(float64(systolic), 0), "mmHg", "mm[Hg]")},
		obj{"code", concept(loinc, "8462-4", "Diastolic blood pressure"), "valueQuantity", quantity(decimal(float64(systolic*5/8), 0), "mmHg", "mm[Hg]")},
	})
}

// clamp keeps a deviation within what a living body shows.
func clamp(v float64) float64 { return max(-2, min(2, v)) }

func observation(w *writer, p *person, n int, at time.Time, m measure, result ...any) {
	members := []any{
		"status", "final",
		"category", vitalSigns,
		"code", obj{"coding", m.codes, "text", m.text},
		"subject", p.ref(),
		"encounter", ref("Encounter", p.sub("enc", n+1)),
		"effectiveDateTime", instant(at.Add(5 * time.Minute)),
		"performer", arr{ref("Practitioner", p.doctor.id)},
	}
	w.put("Observation", p.sub(m.kind, n+1), usCore+m.profile, append(members, result...)...)
}
