package sample

import "fmt"

// clinician is a practitioner whom several patients share.
type clinician struct{ id, family, given, npi, specialty, specialtyName string }

// site is an organisation with one location.
type site struct {
	org, loc, name, room, npi string
	at                        place
	area                      int
}

var clinicians = []clinician{
	{"prac-1", "Fairweather", "Ada", "1999999984", "207Q00000X", "Family Medicine Physician"},
	{"prac-2", "Okonkwo", "Ben", "1999999976", "207R00000X", "Internal Medicine Physician"},
	{"prac-3", "Lindqvist", "Cora", "1999999968", "208000000X", "Pediatrics Physician"},
}

var sites = []site{
	{"org-1", "loc-1", "Fairhaven Example Clinic", "Fairhaven Example Clinic, main building", "1999999950",
		place{"1 Harbor Lane", "Fairhaven Mills", "MA", "02199"}, 617},
	{"org-2", "loc-2", "Juniper Example Hospital", "Juniper Example Hospital, east wing", "1999999943",
		place{"200 Mill Road", "Juniper Flats", "TX", "78999"}, 512},
}

// payer is the health plan of all.
var payer = struct{ id, name, system string }{
	"org-payer",
	"Example Health Plan",
	"http://plan.example.org/member",
}

// shelf is the medications that prescriptions refer to.
var shelf = []struct{ id, rxnorm, name string }{
	{"med-1", "206765", "Prinivil 10 MG Oral Tablet"},
	{"med-2", "582620", "Nizatidine 15 MG/ML Oral Solution [Axid]"},
}

// questionnaire is the canonical URL of the form that all have filled in.
const questionnaire = hospital + "Questionnaire/hunger"

// shared writes what many records refer to.
func shared(w *writer) {
	for i, s := range sites {
		organization(w, s, i)
		location(w, s, i)
		endpoint(w, s, i)
	}

	w.put("Organization", payer.id, usCore+"organization",
		"identifier", arr{identifier("http://plan.example.org/organization", "plan-1")},
		"active", true,
		"type", arr{
			concept("http://terminology.hl7.org/CodeSystem/organization-type", "pay", "Payer"),
		},
		"name", payer.name,
		"telecom", arr{workPhone(216, 40)},
		"address", arr{
			workAddress(place{"9 Church Street", "Cedar Bluff Falls", "OH", "44099"}),
		})

	for i, c := range clinicians {
		practitioner(w, c, i)
		practitionerRole(w, c, i)
	}

	for _, m := range shelf {
		w.put("Medication", m.id, usCore+
			"medication", "code", concept(rxnorm, m.rxnorm, m.name), "status",
			"active")
	}

	form(w)
}

func endpoint(w *writer, s site, i int) {
	w.put("Endpoint", fmt.Sprintf("endpoint-%d", i+1), "",
		"status", "active",
		"connectionType", coding("http://terminology.hl7.org/CodeSystem/endpoint-connection-type",
			"direct-project",
			"Direct Project"),
		"name", "Direct address of "+s.name,
		"managingOrganization", refNamed("Organization", s.org, s.name),
		"payloadType", arr{obj{"text", "any"}},
		"address", "mailto:"+s.org+"@direct.example.org")
}

func practitionerRole(w *writer, c clinician, i int) {
	s := sites[i%len(sites)]
	w.put("PractitionerRole", fmt.Sprintf("role-%d", i+1), usCore+"practitionerrole",
		"active", true,
		"practitioner", refNamed("Practitioner", c.id, c.given+" "+c.family),
		"organization", refNamed("Organization", s.org, s.name),
		"code", arr{concept(nucc, c.specialty, c.specialtyName)},
		"specialty", arr{concept(nucc, c.specialty, c.specialtyName)},
		"location", arr{refNamed("Location", s.loc, s.room)},
		"telecom", arr{workPhone(s.area, 60+i)},
		"endpoint", arr{ref("Endpoint", fmt.Sprintf("endpoint-%d", i%len(sites)+1))})
}

// form writes the questionnaire.
func form(w *writer) {
	question := func(link, text string, more ...any) obj {
		return append(obj{"linkId", link, "text", text, "type", "choice", "answerOption", arr{
			obj{"valueCoding", coding(loinc, "LA28397-0", "Often true")},
			obj{"valueCoding", coding(loinc, "LA6729-3", "Never true")}}}, more...)
	}
	w.put("Questionnaire", "hunger", "",
		"url", questionnaire,
		"version", "1",
		"name", "HungerVitalSign",
		"title", "Food in the last year",
		"status", "active",
		"subjectType", arr{"Patient"},
		"item", arr{obj{"linkId", "hunger", "text", "Food in the last year", "type", "group", "item", arr{
			question("88122-7", "Worried that food would run out", "item", arr{
				obj{"linkId", "why", "text", "Reason", "type", "string"},
			}),
			question("88123-5", "Food did not last")}},
			obj{"linkId", "88124-3", "text", "Food insecurity risk", "type", "open-choice", "item", arr{
				obj{"linkId", "help", "text", "Help wanted", "type", "boolean"}}}})
}

// group writes the one list that depends on how many patients there are: the
// first hundred of them.
func group(w *writer, n int) {
	var members arr
	for i := range min(n, 100) {
		members = append(members, obj{
			"entity",
			ref("Patient", PatientID(i)),
			"inactive",
			false,
		})
	}

	w.put("Group", "group-1", "",
		"active", true,
		"type", "person",
		"actual", true,
		"name", "Patients of the example clinics",
		"quantity", len(members),
		"managingEntity", refNamed("Organization", sites[0].org, sites[0].name),
		"member", members)
}

const nucc = "http://nucc.org/provider-taxonomy"

func workAddress(a place) obj {
	return obj{
		"use", "work", "line", arr{a.line}, "city", a.city, "state", a.state, "postalCode", a.zip,
		"country", "US",
	}
}

func workPhone(area, last int) obj {
	return obj{
		"system", "phone", "value", fmt.Sprintf("(%03d) 555-01%02d", area, last), "use", "work",
	}
}

func organization(w *writer, s site, i int) {
	w.put("Organization", s.org, usCore+"organization",
		"identifier", arr{identifier(npi, s.npi)},
		"active", true,
		"type", arr{
			concept("http://terminology.hl7.org/CodeSystem/organization-type", "prov", "Healthcare Provider"),
		},
		"name", s.name,
		"telecom", arr{workPhone(s.area, 10+i)},
		"address", arr{workAddress(s.at)})
}

func location(w *writer, s site, i int) {
	w.put("Location", s.loc, usCore+"location",
		"identifier", arr{identifier(hospital+"location", s.loc)},
		"status", "active",
		"name", s.room,
		"type", arr{concept(roleCode, "OF", "Outpatient facility")},
		"telecom", arr{workPhone(s.area, 20+i)},
		"address", workAddress(s.at),
		"managingOrganization", refNamed("Organization", s.org, s.name))
}

func practitioner(w *writer, c clinician, i int) {
	s := sites[i%len(sites)]
	w.put("Practitioner", c.id, usCore+"practitioner",
		"identifier", arr{identifier(npi, c.npi)},
		"active", true,
		"name", arr{
			obj{
				"use", "official", "family", c.family, "given", arr{c.given}, "prefix", arr{"Dr."},
			},
		},
		"telecom", arr{workPhone(s.area, 30+i)},
		"address", arr{workAddress(s.at)})
}
