package sample

import "fmt"

// plan writes who cares for the patient, to what end, and how.
func plan(w *writer, p *person) {
	goal := p.sub("goal", 1)
	w.put("Goal", goal, usCore+"goal",
		"lifecycleStatus", "active",
		"description", obj{"text", "Walk for half an hour on five days of the week"},
		"subject", p.ref(),
		"startDate", day(p.last()),
		"target", arr{obj{"dueDate", day(p.last().AddDate(1, 0, 0))}})

	w.put("CareTeam", p.sub("team", 1), usCore+"careteam",
		"status", "active",
		"name", "Care team of "+p.name(),
		"subject", p.ref(),
		"participant", arr{
			obj{
				"role", arr{
					concept(snomed, "453231000124104", "Primary care provider"),
				}, "member",
				p.doctorRef(), "onBehalfOf", p.clinicRef(),
			},
			obj{
				"role",
				arr{concept(snomed, "133932002", "Caregiver (person)")},
				"member",
				ref("RelatedPerson", p.sub("rel", 1)),
			},
			obj{
				"role",
				arr{concept(snomed, "17561000", "Cardiologist")},
				"member",
				ref("PractitionerRole", "role-2"),
			},
			obj{
				"role",
				arr{concept(snomed, "116154003", "Patient (person)")},
				"member",
				p.ref(),
			}})

	w.put("CareTeam", p.sub("team", 2), usCore+"careteam",
		"status", "inactive",
		"subject", p.ref(),
		"participant", arr{
			obj{
				"role",
				arr{concept(snomed, "453231000124104", "Primary care provider")},
				"member",
				p.clinicRef(),
			},
		})

	w.put("CarePlan", p.sub("plan", 1), usCore+"careplan",
		"text", narrative("Plan: more exercise, "+p.heads.medicine+" as before, review in a year."),
		"status", "active",
		"intent", "plan",
		"category", arr{
			concept("http://hl7.org/fhir/us/core/CodeSystem/careplan-category", "assess-plan",
				"Assessment and Plan of Treatment"),
		},
		"subject", p.ref(),
		"encounter", p.encounterRef(visits),
		"period", obj{"start", day(p.last())},
		"careTeam", arr{ref("CareTeam", p.sub("team", 1))},
		"addresses", arr{ref("Condition", p.sub("cond", 1))},
		"goal", arr{ref("Goal", goal)})
}

// devices writes an implant, with everything on its label.
func devices(w *writer, p *person) {
	di := fmt.Sprintf("0999999900%04d", 1+p.index%9999)
	made, ends := p.visit(0).AddDate(-1, 0, 0), p.visit(0).AddDate(9, 0, 0)
	lot, serial := "LOT-EX-7", fmt.Sprintf("SN%07d", p.index+1)
	label := "(01)" + di + "(11)" + made.Format(
		"060102") + "(17)" + ends.Format("060102") + "(10)" + lot + "(21)" + serial
	w.put("Device", p.sub("device", 1), usCore+"implantable-device",
		"udiCarrier", arr{
			obj{
				"deviceIdentifier", di, "issuer", "http://hl7.org/fhir/NamingSystem/gs1-di",
				"carrierHRF", label,
			},
		},
		"status", "active",
		"distinctIdentifier", "A9999"+serial,
		"manufacturer", "Example Implants",
		"manufactureDate", instant(made),
		"expirationDate", instant(ends),
		"lotNumber", lot,
		"serialNumber", serial,
		"type", concept(snomed, "468063009", "Coated femoral stem prosthesis, modular"),
		"patient", p.ref())
}
