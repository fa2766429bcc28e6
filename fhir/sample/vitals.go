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
	{
		"height", "body-height", arr{coding(loinc, "8302-2", "Body height")}, "Body height", "cm",
		"cm", 1, 170, 0,
	},
	{
		"weight", "body-weight", arr{coding(loinc, "29463-7", "Body weight")}, "Body weight", "kg",
		"kg", 1, 75, 0,
	},
	{
		"bmi", "bmi", arr{coding(loinc, "39156-5", "Body mass index (BMI) [Ratio]")},
		"Body mass index", "kg/m2", "kg/m2", 2, 26, 0,
	},
	{
		"heart", "heart-rate", arr{coding(loinc, "8867-4", "Heart rate")}, "Heart rate",
		"beats/minute", "/min", 0, 72, 9,
	},
	{
		"resp", "respiratory-rate", arr{coding(loinc, "9279-1", "Respiratory rate")},
		"Respiratory rate", "breaths/minute", "/min", 0, 15, 2,
	},
	{
		"temp", "body-temperature", arr{coding(loinc, "8310-5", "Body temperature")},
		"Body temperature", "degrees Celsius", "Cel", 1, 36.8, 0.3,
	},
	{"spo2", "pulse-oximetry", arr{coding(loinc, "59408-5",
		"Oxygen saturation in Arterial blood by Pulse oximetry"),
		coding(loinc, "2708-6",
			"Oxygen saturation in Arterial blood")}, "Oxygen saturation", "%", "%", 0, 97, 1},
}

var pressure = measure{kind: "bp", profile: "blood-pressure", text: "Blood pressure",
	codes: arr{coding(loinc, "85354-9", "Blood pressure panel with all children optional")}}

// paediatric are measured on small children; the two US profiles whose URLs
// do not begin like the others' have them whole.
var paediatric = []measure{
	{
		"head", "head-circumference",
		arr{
			coding(loinc, "9843-4", "Head Occipital-frontal circumference"),
		}, "Head circumference",
		"cm", "cm", 1, 46, 1,
	},
	{"headpct", "http://hl7.org/fhir/us/core/StructureDefinition/head-occipital-frontal-circumference-percentile",
		arr{
			coding(loinc, "8289-1", "Head Occipital-frontal circumference Percentile"),
		}, "Head circumference percentile", "%", "%", 0, 50, 20},
	{"bmipct", "http://hl7.org/fhir/us/core/StructureDefinition/pediatric-bmi-for-age",
		arr{
			coding(loinc, "59576-9", "Body mass index (BMI) [Percentile] Per age and sex"),
		}, "BMI percentile", "%", "%", 0, 50, 20},
	{"wfhpct", "http://hl7.org/fhir/us/core/StructureDefinition/pediatric-weight-for-height",
		arr{
			coding(loinc, "77606-2", "Weight-for-length Per age and sex"),
		}, "Weight for length percentile", "%", "%", 0, 50, 20},
}

var vitalSigns = arr{concept(obsCategory, "vital-signs", "Vital Signs")}

func (m measure) url() string {
	if m.profile[0] == 'h' && len(m.profile) > 40 {
		return m.profile
	}
	return usCore + m.profile
}

func (m measure) code() obj {
	return obj{"coding", m.codes, "text", m.text}
}

// draw measures once. The conversion keeps machines from fusing product and
// sum, which would round differently on some.
func (m measure) draw(p *person) obj {
	return quantity(
		decimal(m.mean+float64(m.spread*clamp(p.r.NormFloat64())), m.digits),
		m.unit,
		m.symbol,
	)
}

// clamp keeps a deviation within what a living body shows.
func clamp(v float64) float64 { return max(-2, min(2, v)) }

// vitals writes what is measured at each visit. Weight comes and goes a
// little; the body mass index follows from it.
func vitals(w *writer, p *person, n int) {
	weight := p.weight + float64(1.5*clamp(p.r.NormFloat64()))
	if p.child() {
		weight = p.weight
	}

	for _, m := range measures {
		switch m.kind {
		case "height":
			m.mean = p.height
		case "weight":
			m.mean = weight
		case "bmi":
			m.mean = weight / float64(p.height*p.height) * 10000
		case "heart", "resp":
			if p.child() {
				m.mean *= 1.6
			}
		}

		w.put("Observation", p.sub(m.kind, n+1), m.url(),
			append(p.vitalHead(m, n), "valueQuantity", m.draw(p))...)
	}

	systolic := 112 + p.r.IntN(40)
	w.put("Observation", p.sub("bp", n+1), pressure.url(), append(p.vitalHead(pressure, n), "component", arr{
		part(concept(loinc, "8480-6", "Systolic blood pressure"), mmHg(systolic)),
		part(concept(loinc, "8462-4", "Diastolic blood pressure"), mmHg(systolic*5/8)),
	})...)
}

func part(code, value obj) obj {
	return obj{"code", code, "valueQuantity", value}
}

func partAbsent(code obj) obj {
	return obj{"code", code, "dataAbsentReason", concept(absentReason, "unknown", "Unknown")}
}

func mmHg(v int) obj {
	return quantity(decimal(float64(v), 0), "mmHg", "mm[Hg]")
}

func (p *person) vitalHead(m measure, n int) []any {
	return []any{
		"status", "final",
		"category", vitalSigns,
		"code", m.code(),
		"subject", p.ref(),
		"encounter", p.encounterRef(n + 1),
		"effectiveDateTime", instant(p.visit(n).Add(5 * time.Minute)),
		"performer", arr{p.doctorRef()},
	}
}

// growth writes what is measured on children.
func growth(w *writer, p *person) {
	for _, m := range paediatric {
		w.put("Observation", p.sub(m.kind, 1), m.url(),
			append(p.vitalHead(m, visits-1), "valueQuantity", m.draw(p))...)
		w.put("Observation", p.sub(m.kind, 2), m.url(), append(p.vitalHead(m, visits-2), attempts(m, p)...)...)
	}
}

// attempts is a result that could not be had, with what was tried.
func attempts(m measure, p *person) []any {
	return []any{
		"dataAbsentReason", concept(absentReason, "unknown", "Unknown"),
		"component", arr{
			part(obj{"text", "First attempt, not reliable"}, m.draw(p)),
			partAbsent(obj{"text", "Second attempt"}),
		},
	}
}

// rareVitals writes, for every eighth patient, what the profiles allow and
// seldom occurs.
func rareVitals(w *writer, p *person) {
	if !p.every(8) {
		return
	}

	for _, m := range measures {
		w.put("Observation", p.sub(m.kind, visits+
			1), m.url(), append(p.vitalHead(m, 0), attempts(m, p)...)...)
	}

	surface := measure{
		"bsa", "vital-signs", arr{coding(loinc, "8277-6", "Body surface area")},
		"Body surface area", "m2", "m2", 2, 1.8, 0.1,
	}
	w.put("Observation", p.sub("bsa", 1), surface.url(),
		append(p.vitalHead(surface, 0), "valueQuantity", surface.draw(p))...)

	w.put("Observation", p.sub("bsa", 2), surface.url(),
		append(p.vitalHead(surface, 0), attempts(surface, p)...)...)
	oxygen(w, p)
	pressures(w, p)
}

// oxygen writes saturation under oxygen, flow and concentration known and not.
func oxygen(w *writer, p *person) {
	m := measures[6]
	flow := concept(loinc, "3151-8", "Inhaled oxygen flow rate")
	share := concept(loinc, "3150-0", "Inhaled oxygen concentration")
	w.put("Observation", p.sub("spo2", visits+2), m.url(),
		append(p.vitalHead(m, 0), "valueQuantity", m.draw(p), "component", arr{
			part(flow, quantity("2.0", "liters/min", "L/min")), part(share, quantity("28", "%", "%"))})...)
	w.put("Observation", p.sub("spo2", visits+3), m.url(),
		append(p.vitalHead(m, 0), "valueQuantity", m.draw(p), "component", arr{
			partAbsent(flow), partAbsent(share)})...)
}

// pressures writes blood pressures that were estimated or not had, and means.
func pressures(w *writer, p *person) {
	high, low := concept(loinc, "8480-6", "Systolic blood pressure"), concept(loinc, "8462-4",
		"Diastolic blood pressure")
	w.put("Observation", p.sub("bp", visits+1), pressure.url(), append(p.vitalHead(pressure, 0),
		"valueString", "about 120 over 80, by hand", "component", arr{part(high,
			mmHg(120)), part(low, mmHg(80))})...)
	w.put("Observation", p.sub("bp", visits+2), pressure.url(), append(p.vitalHead(pressure, 0),
		"dataAbsentReason", concept(absentReason, "unknown",
			"Unknown"), "component", arr{partAbsent(high), partAbsent(low)})...)

	mean := measure{
		kind:    "bpmean",
		profile: "average-blood-pressure",
		text:    "Mean blood pressure",
		codes: arr{
			coding(loinc, "96607-7", "Blood pressure panel mean systolic and mean diastolic"),
		},
	}

	high, low = concept(loinc, "96608-5", "Systolic blood pressure mean"), concept(loinc, "96609-3",
		"Diastolic blood pressure mean")
	w.put("Observation", p.sub("bpmean", 1), mean.url(),
		append(p.vitalHead(mean, 0), "component", arr{part(high, mmHg(121)), part(low, mmHg(79))})...)
	w.put("Observation", p.sub("bpmean", 2), mean.url(),
		append(p.vitalHead(mean, 0), "component", arr{partAbsent(high), partAbsent(low)})...)
}
