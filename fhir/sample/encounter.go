package sample

import "time"

const participation = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"

// encounter writes one yearly visit; the second of each was a video call.
func encounter(w *writer, p *person, n int) {
	class := coding(actCode, "AMB", "ambulatory")
	if n == 1 {
		class = coding(actCode, "VR", "virtual")
	}
	at := p.visit(n)
	w.put("Encounter", p.sub("enc", n+1), usCore+"encounter",
		p.encounterMembers(n+1, "finished", class, "wellness", "Wellness visit", at, at.Add(30*time.Minute))...)
}

// admission writes a stay in hospital, for every second patient, and for
// another a visit that is still to come.
func admission(w *writer, p *person) {
	at := p.visit(1).AddDate(0, 2, 0)
	if !p.every(2) {
		next := today.AddDate(0, 1, p.index%20)
		w.put("Encounter", p.sub("enc", visits+1), usCore+"encounter",
			p.encounterMembers(visits+1, "planned", coding(actCode, "AMB", "ambulatory"), "follow-up",
				"Follow-up visit", next, next.Add(20*time.Minute))...)
		return
	}

	members := p.encounterMembers(visits+1, "finished", coding(actCode, "IMP", "inpatient encounter"),
		"inpatient",
		"Inpatient stay", at, at.AddDate(0, 0, 3))
	w.put("Encounter", p.sub("enc", visits+1), usCore+"encounter", append(members,
		"hospitalization", obj{
			"dischargeDisposition",
			concept("https://www.nubc.org/CodeSystem/PatDischargeStatus", "01", "Discharged to Home"),
		})...)
}

func (p *person) encounterMembers(
	n int, status string, class obj, kind, kindName string, from, to time.Time,
) []any {
	return []any{
		"identifier", arr{
			obj{"use", "official", "system", hospital + "encounter", "value", p.sub("enc", n)},
		},
		"status", status,
		"class", class,
		"type", arr{concept(hospital+"CodeSystem/visit", kind, kindName)},
		"subject", p.ref(),
		"participant", arr{obj{
			"type", arr{concept(participation, "PPRF", "primary performer")},
			"period", period(from, to),
			"individual", p.doctorRef()}},
		"period", period(from, to),
		"reasonCode", arr{
			concept(icd10cm, "Z00.00",
				"Encounter for general adult medical examination without abnormal findings"),
		},
		"reasonReference", arr{ref("Condition", p.sub("cond", 1))},
		"location", arr{obj{"location", refNamed("Location", p.clinic.loc, p.clinic.room)}},
		"serviceProvider", p.clinicRef(),
	}
}
