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

// shared writes what many records refer to.
func shared(w *writer) {
	for i, s := range sites {
		organization(w, s, i)
		location(w, s, i)
	}
	for i, c := range clinicians {
		practitioner(w, c, i)
	}
}

func workAddress(a place) obj {
	return obj{"use", "work", "line", arr{a.line}, "city", a.city, "state", a.state, "postalCode", a.zip, "country", "US"}
}

func workPhone(area, last int) obj {
	return obj{"system", "phone", "value", fmt.Sprintf("(%03d) 555-01%02d", area, last), "use", "work"}
}

func organization(w *writer, s site, i int) {
	w.put("Organization", s.org, usCore+"organization",
		"identifier", arr{identifier(npi, s.npi)},
		"active", true,
		"type", arr{concept("http://terminology.hl7.org/CodeSystem/organization-type", "prov", "Healthcare Provider")},
		"name", s.name,
		"telecom", arr{workPhone(s.area, 10+i)},
		"address", arr{workAddress(s.at)})
}

func location(w *writer, s site, i int) {
	w.put("Location", s.loc, usCore+"location",
		"identifier", arr{identifier(hospital+"location", s.loc)},
		"status", "active",
		"name", s.room,
		"type", arr{concept("http://terminology.hl7.org/CodeSystem/v3-RoleCode", "OF", "Outpatient facility")},
		"telecom", arr{workPhone(s.area, 20+i)},
		"address", workAddress(s.at),
		"managingOrganization", refNamed("Organization", s.org, s.name))
}

func practitioner(w *writer, c clinician, i int) {
	s := sites[i%len(sites)]
	w.put("Practitioner", c.id, usCore+"practitioner",
		"identifier", arr{identifier(npi, c.npi)},
		"active", true,
		"name", arr{obj{"use", "official", "family", c.family, "given", arr{c.given}, "prefix", arr{"Dr."}}},
		"telecom", arr{workPhone(s.area, 30+i)},
		"address", arr{workAddress(s.at)})
}
