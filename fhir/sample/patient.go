package sample

import "fmt"

const (
	cdcRace    = "urn:oid:2.16.840.1.113883.6.238"
	roleCode   = "http://terminology.hl7.org/CodeSystem/v3-RoleCode"
	nullFlavor = "http://terminology.hl7.org/CodeSystem/v3-NullFlavor"
)

var races = []struct{ code, name, detail, detailName string }{
	{"2028-9", "Asian", "2036-2", "Filipino"},
	{"2106-3", "White", "", ""}, {"2106-3", "White", "", ""}, {"2106-3", "White", "", ""},
	{"2054-5", "Black or African American", "", ""},
	{"1002-5", "American Indian or Alaska Native", "1586-7", "Shoshone"},
}

// patient writes the person. Each twenty-fifth has no known name, which is
// given by an extension (US Core us-core-6).
func patient(w *writer, p *person) {
	members := []any{
		"text", narrative(p.name(), "born "+day(p.born)+", "+p.gender()),
		"extension", p.extensions(),
		"identifier", arr{
			obj{"use", "usual", "type", concept(v20203, "MR", "Medical record number"),
				"system", hospital + "mrn", "value", fmt.Sprintf("MRN%06d", p.index+1)},
			obj{"type", concept(v20203, "SS", "Social Security number"),
				"system", ssn, "value", fmt.Sprintf("666-%02d-%04d", 10+p.index/9999%90, 1+
					p.index%9999)},
		},
		"active", true,
		"name", p.names(),
		"telecom", arr{phone(p.area, p.index), p.email()},
		"gender", p.gender(),
		"birthDate", day(p.born),
	}

	if !p.died.IsZero() {
		members = append(members, "deceasedDateTime", instant(p.died))
	}
	w.put("Patient", p.id, usCore+"patient", append(members,
		"address", p.addresses(),
		"maritalStatus", concept(nullFlavor, "UNK", "unknown"),
		"contact", arr{obj{"relationship", arr{
			concept("http://terminology.hl7.org/CodeSystem/v2-0131", "C", "Emergency Contact"),
		},
			"name", obj{"family", p.family, "given", arr{p.middle}}, "telecom", arr{phone(p.area,
				p.index+50)}}},
		"communication", arr{
			obj{
				"language",
				concept("urn:ietf:bcp:47", p.language(), languages[p.language()]),
				"preferred",
				true,
			},
		},
		"generalPractitioner", arr{p.doctorRef()},
		"managingOrganization", p.clinicRef())...)
}

var languages = map[string]string{
	"en-US": "English (United States)",
	"es":    "Spanish",
}

func (p *person) language() string {
	if p.index%4 == 3 {
		return "es"
	}
	return "en-US"
}

func (p *person) gender() string {
	if p.female {
		return "female"
	}
	return "male"
}

// extensions are those that US Core adds to a Patient.
func (p *person) extensions() arr {
	race := races[p.index%len(races)]
	parts := arr{extension("ombCategory", "valueCoding", coding(cdcRace, race.code, race.name))}
	if race.detail != "" {
		parts = append(parts,
			extension("detailed", "valueCoding", coding(cdcRace, race.detail, race.detailName)))
	}
	parts = append(parts, extension("text", "valueString", race.name))
	birth := "M"
	sex := "248153007"

	if p.female {
		birth = "F"
		sex = "248152002"
	}

	all := arr{
		obj{"extension", parts, "url", usCore + "race"},
		obj{"extension", p.ethnicity(), "url", usCore + "ethnicity"},
		extension(usCore+"birthsex", "valueCode", birth),
		extension(usCore+"sex", "valueCode", sex),
		extension(usCore+"genderIdentity", "valueCodeableConcept", concept(nullFlavor, "UNK", "unknown")),
	}

	if p.every(5) {
		all = append(all, obj{"extension", arr{
			extension("tribalAffiliation", "valueCodeableConcept",
				concept("http://terminology.hl7.org/CodeSystem/v3-TribalEntityUS",
					"187", "Paiute-Shoshone Tribe of the Fallon Reservation and Colony, Nevada")),
			extension("isEnrolled", "valueBoolean", false)}, "url", usCore + "tribal-affiliation"})
	}

	return all
}

func (p *person) ethnicity() arr {
	if p.every(4) {
		return arr{extension("ombCategory", "valueCoding", coding(cdcRace, "2135-2", "Hispanic or Latino")),
			extension("detailed", "valueCoding", coding(cdcRace, "2148-5", "Mexican")),
			extension("text", "valueString", "Hispanic or Latino")}
	}
	return arr{extension("ombCategory", "valueCoding", coding(cdcRace, "2186-5", "Not Hispanic or Latino")),
		extension("text", "valueString", "Not Hispanic or Latino")}
}

func (p *person) names() arr {
	if p.index%25 == 24 {
		return arr{obj{"extension", arr{absentData("unknown")}}}
	}

	suffix := arr(nil)
	if p.every(4) {
		suffix = arr{"Jr."}
	}
	all := arr{
		obj{
			"use", "official", "text", p.name(), "family", p.family, "given",
			arr{p.given, p.middle}, "suffix", suffix,
		},
	}

	if p.every(3) {
		all = append(all,
			obj{"use", "old", "family", familyNames[(p.index+
				7)%len(familyNames)], "given", arr{p.given},
				"period", obj{"end", day(p.visit(0).AddDate(-2, 0, 0))}})
	}

	return all
}

func (p *person) addresses() arr {
	now := address(p.home)
	if !p.every(3) {
		return arr{now}
	}

	moved := p.visit(0).AddDate(-1, 0, 0)
	now = append(now, "period", obj{"start", day(moved)})
	before := place{
		line:  "12 Old Mill Road, Apt 3",
		city:  "Cedar Bluff Falls",
		state: "OH",
		zip:   "44099",
	}
	old := obj{"use", "old", "line", arr{before.line}, "city", before.city, "state", before.state, "postalCode",
		before.zip,
		"country", "US", "period", obj{"end", day(moved)}}
	return arr{now, old}
}

func relatedPerson(w *writer, p *person) {
	w.put("RelatedPerson", p.sub("rel", 1), usCore+"relatedperson",
		"active", true,
		"patient", p.ref(),
		"relationship", arr{p.kin()},
		"name", arr{obj{"family", p.family, "given", arr{p.middle}}},
		"telecom", arr{phone(p.area, p.index+50)},
		"address", arr{address(p.home)})
}

func (p *person) kin() obj {
	if p.child() {
		return concept(roleCode, "MTH", "mother")
	}
	return concept(roleCode, "SPS", "spouse")
}

func coverage(w *writer, p *person) {
	class := func(code, display, value, name string) obj {
		return obj{
			"type", concept("http://terminology.hl7.org/CodeSystem/coverage-class", code, display),
			"value", value, "name", name,
		}
	}

	member := fmt.Sprintf("EX%08d", 10007*(p.index+1))
	w.put("Coverage", p.sub("cov", 1), usCore+"coverage",
		"identifier", arr{
			obj{
				"type", concept(v20203, "MB", "Member Number"), "system", payer.system, "value",
				member + "-01",
			},
		},
		"status", "active",
		"type", concept(actCode, "PPO", "preferred provider organization policy"),
		"subscriberId", member,
		"beneficiary", p.ref(),
		"relationship", concept("http://terminology.hl7.org/CodeSystem/subscriber-relationship", "self",
			"Self"),
		"period", obj{"start", day(p.visit(0).AddDate(-3, 0, 0))},
		"payor", arr{refNamed("Organization", payer.id, payer.name)},
		"class", arr{
			class("group", "Group", "EX-100", "Example Employees"),
			class("plan", "Plan", "silver", "Example Silver Plan"),
		})
}
