package sample

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// person is what the whole record of one patient draws on.
type person struct {
	index  int
	id     string
	r      *rand.Rand
	family string
	given  string
	middle string
	female bool
	born   time.Time
	died   time.Time // zero while alive
	height float64   // cm
	weight float64   // kg
	home   place
	area   int // area code of the telephone
	heads  illness
	doctor clinician
	clinic site
}

type place struct{ line, city, state, zip string }

var (
	familyNames = []string{"Smith", "Johnson", "Williams", "Brown", "Jones", "Garcia", "Miller", "Davis", "Rodriguez",
		"Martinez", "Hernandez", "Lopez", "Gonzalez", "Wilson", "Anderson", "Thomas", "Taylor", "Moore", "Jackson",
		"Martin", "Lee", "Perez", "Thompson", "White", "Harris", "Sanchez", "Clark", "Ramirez", "Lewis", "Robinson",
		"Walker", "Young", "Allen", "King", "Wright", "Scott", "Torres", "Nguyen", "Hill", "Flores"}
	girlNames = []string{"Mary", "Patricia", "Jennifer", "Linda", "Elizabeth", "Barbara", "Susan", "Jessica", "Sarah",
		"Karen", "Lisa", "Nancy", "Betty", "Sandra", "Margaret", "Ashley", "Kimberly", "Emily", "Donna", "Michelle"}
	boyNames = []string{"James", "Robert", "John", "Michael", "David", "William", "Richard", "Joseph", "Thomas",
		"Christopher", "Charles", "Daniel", "Matthew", "Anthony", "Mark", "Donald", "Steven", "Andrew", "Paul",
		"Joshua"}
	streets = []string{"Elm Street", "Oak Avenue", "Mill Road", "Harbor Lane", "Orchard Way", "Church Street",
		"Meadow Drive", "Station Road", "Hill Crescent", "River Walk"}
	towns = []place{{"", "Fairhaven Mills", "MA", "02199"}, {"", "Maple Hollow", "NY", "12299"},
		{"", "Cedar Bluff Falls", "OH", "44099"}, {"", "Prairie Junction", "IL", "62799"},
		{"", "Saltmarsh Bay", "CA", "93999"}, {"", "Juniper Flats", "TX", "78999"}}
	areas = []int{617, 518, 216, 217, 805, 512}
)

// newPerson draws the patient at a place of the population.
func newPerson(i int) *person {
	r := chance(i)
	p := &person{
		index:  i,
		id:     PatientID(i),
		r:      r,
		female: r.IntN(2) == 0,
		family: pick(r, familyNames),
	}

	names := boyNames
	if p.female {
		names = girlNames
	}
	p.given, p.middle = pick(r, names), pick(r, names)
	p.born = today.AddDate(-ageOf(i, r), 0, -r.IntN(365)-1)
	town := r.IntN(len(towns))
	p.home, p.area = towns[town], areas[town]

	p.home.line = fmt.Sprintf("%d %s", 1+r.IntN(400), pick(r, streets))
	p.height, p.weight = p.size()
	p.heads = illnesses[i%len(illnesses)]
	if p.child() {
		p.heads = asthma
	}
	p.doctor = clinicians[i%len(clinicians)]
	p.clinic = sites[i%len(sites)]

	if i%9 == 8 {
		p.died = today.AddDate(0, -1-r.IntN(6), 0)
	}
	return p
}

// ageOf makes the third patient of each ten a small child, for whom the
// paediatric measurements exist.
func ageOf(i int, r *rand.Rand) int {
	if i%10 == 2 {
		return 1
	}
	return 18 + r.IntN(70)
}

// size draws height and weight that belong together.
func (p *person) size() (height, weight float64) {
	height, bmi := 177+float64(7*clamp(p.r.NormFloat64())), 26+float64(3*clamp(p.r.NormFloat64()))
	switch {
	case p.child():
		height = 76
		bmi = 16.5
	case p.female:
		height -= 13
	}
	return height, float64(bmi*height) * height / 10000
}

func (p *person) child() bool {
	return p.born.After(today.AddDate(-3, 0, 0))
}

func (p *person) name() string {
	return p.given + " " + p.family
}

func (p *person) ref() obj {
	return refNamed("Patient", p.id, p.name())
}

// sub is the id of something in this patient's record.
func (p *person) sub(kind string, n int) string {
	return fmt.Sprintf("%s-%s-%d", p.id, kind, n)
}

func (p *person) email() obj {
	return email(strings.ToLower(p.given + "." + p.family + "." + p.id))
}
