package sample

import "time"

// visits is how many yearly encounters each record holds.
const visits = 3

// illness is what a patient lives with, and what is taken for it.
type illness struct {
	icd, name        string
	rxnorm, medicine string
	dosage           string
	perDay           int
}

var asthma = illness{
	"J45.909", "Unspecified asthma, uncomplicated", "745679",
	"200 ACTUAT albuterol 0.09 MG/ACTUAT Metered Dose Inhaler",
	"Two puffs every six hours as needed", 4,
}

var illnesses = []illness{
	{
		"I10", "Essential (primary) hypertension", "314076", "lisinopril 10 MG Oral Tablet",
		"One tablet by mouth once a day", 1,
	},
	{
		"E11.9", "Type 2 diabetes mellitus without complications", "861007",
		"metformin hydrochloride 500 MG Oral Tablet", "One tablet by mouth twice a day", 2,
	},
	asthma,
}

// life writes one patient's whole record.
func life(w *writer, p *person) {
	patient(w, p)
	relatedPerson(w, p)
	coverage(w, p)

	for n := range visits {
		encounter(w, p, n)
		vitals(w, p, n)
	}

	admission(w, p)
	if p.child() {
		growth(w, p)
	}
	rareVitals(w, p)
	conditions(w, p)
	allergies(w, p)
	medications(w, p)

	laboratory(w, p)
	imaging(w, p)
	procedures(w, p)
	if !p.child() {
		social(w, p)
		devices(w, p)
	}
	screening(w, p)

	plan(w, p)
	documents(w, p)
	consent(w, p)
	provenance(w, p)
	past(w, p)
}

// visit is when the nth encounter began, oldest first.
func (p *person) visit(n int) time.Time {
	last := today.AddDate(0, -p.index%5-8, -p.index%27)
	return last.AddDate(n-visits+1, 0, 0).Add(time.Duration(8*60+p.index%32*15) * time.Minute)
}

// last is the newest encounter, on which most of the record was made.
func (p *person) last() time.Time {
	return p.visit(visits - 1)
}

// every reports whether the patient is the first of each k, so that the first
// patient of all has whatever anybody has.
func (p *person) every(k int) bool {
	return p.index%k == 0
}

func (p *person) encounterRef(n int) obj {
	return ref("Encounter", p.sub("enc", n))
}

func (p *person) doctorRef() obj {
	return refNamed("Practitioner", p.doctor.id, p.doctor.given+" "+p.doctor.family)
}

func (p *person) clinicRef() obj {
	return refNamed("Organization", p.clinic.org, p.clinic.name)
}
