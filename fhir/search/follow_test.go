package search

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// family adds patients, and encounters and observations that refer to them in all ways.
func family(t *testing.T) *memory {
	t.Helper()
	m := newMemory()
	rnd := rand.New(rand.NewPCG(4, 4))
	const patients = 300
	for i := range patients {
		m.add(t, fmt.Sprintf(`{"resourceType":"Patient","id":"p%d","gender":%q,"active":%v,"name":[{"family":"F%d"}]}`,
			i, []string{"female", "male"}[i%2], i%3 == 0, i))
	}

	for i := range 900 {
		subject := fmt.Sprintf(`"reference":"Patient/p%d"`, rnd.IntN(patients+20)) // some are of nobody
		switch i % 10 {
		case 0:
			subject = strings.TrimSuffix(subject, `"`) + `/_history/2"`
		case 1:
			subject = fmt.Sprintf(`"reference":"Group/p%d"`, rnd.IntN(patients))
		case 2:
			subject = fmt.Sprintf(`"reference":"https://fhir.test/fhir/Patient/p%d"`, rnd.IntN(patients))
		case 3:
			subject = fmt.Sprintf(`"identifier":{"value":"p%d"}`, rnd.IntN(patients))
		}

		m.add(t, fmt.Sprintf(`{"resourceType":"Observation","id":"o%d","status":%q,"subject":{%s},"encounter":{%s}}`,
			i, []string{"final", "amended", "preliminary"}[i%3], subject,
			fmt.Sprintf(`"reference":"Encounter/e%d"`, rnd.IntN(200))))
	}

	for i := range 200 {
		m.add(t,
			fmt.Sprintf(`{"resourceType":"Encounter","id":"e%d","status":%q,"subject":{"reference":"Patient/p%d"}}`,
				i, []string{"finished", "planned"}[i%2], i))
	}

	m.settle()

	return m
}

// genders lets patients of one gender be found, and everything else.
func genders(t *testing.T, m *memory, which string) func(string) Filter {
	t.Helper()
	q, err := m.ps.Parse(t.Context(), []string{"Patient"}, []Pair{{"gender", which}}, true)
	if err != nil {
		t.Fatal(err)
	}

	return func(typ string) Filter {
		if typ == "Patient" {
			return Filter{}.Or(q.Clauses)
		}
		return Everything()
	}
}

// A page of a chain that leads to many is that of the whole result, found without it: for
// readers of all and of some, and where rules hide some.
// Covers: FS-302
func TestFollowedPagesAreThoseOfTheWholeResult(t *testing.T) {
	m := family(t)
	some := genders(t, m, "female")
	for _, row := range []struct {
		typ    string
		query  []Pair
		filter func(string) Filter
		hides  bool
	}{
		{"Observation", []Pair{{"patient.gender", "female"}}, everything, false},
		{"Observation", []Pair{{"patient.gender", "female,male"}}, everything, true},
		{"Observation", []Pair{{"patient.gender:not", "female"}}, everything, false},
		{"Observation", []Pair{{"patient.active", "true"}}, some, false},
		{"Observation", []Pair{{"patient.active", "true"}}, some, true},
		{"Observation", []Pair{{"subject:Patient.family", "F"}}, everything, false},
		{"Observation", []Pair{{"subject._id:missing", "false"}}, everything, false},
		{"Observation", []Pair{{"encounter.status", "planned"}, {"patient.gender", "male"}}, everything, false},
		{"Observation", []Pair{{"status", "final"}, {"patient.gender", "male"}}, everything, true},
		{"Patient", []Pair{{"_has:Observation:patient:status", "final"}}, everything, false},
		{"Patient", []Pair{{"_has:Observation:subject:status", "amended"}}, some, true},
		{"Patient", []Pair{{"gender", "male"}, {"_has:Observation:patient:status:not", "final"}}, everything, false},
		{"Patient", []Pair{{"_has:Observation:patient:status", "final"}, {"_has:Encounter:patient:status", "planned"}},
			everything, false},
	} {
		t.Run(fmt.Sprint(row.typ, row.query, row.hides), func(t *testing.T) {
			q, err := m.ps.Parse(t.Context(), []string{row.typ}, row.query, true)
			if err != nil {
				t.Fatal(err)
			}

			newFinder := func() *Finder {
				f := NewFinder(t.Context(), &orderly{memory: m}, row.filter, row.filter)
				if row.hides {
					f.Visible = odd
				}
				return f
			}
			all, err := newFinder().Find(q)
			if err != nil {
				t.Fatal(err)
			}

			for _, count := range []int{17, 2000} {
				got, ok := paged(t, newFinder(), q, count)
				if !ok || !slices.Equal(got, all.Docs) {
					t.Errorf("pages of %d: %d resources, %v; want %d", count, len(got), ok, len(all.Docs))
				}
			}
		})
	}
}

// What cannot be followed, or leads to few, is left to Find; what may not be followed is
// refused as there.
func TestWhatIsNotFollowed(t *testing.T) {
	m := family(t)
	inside := family(t)
	inside.add(t, `{"resourceType":"Observation","id":"inside","subject":{"reference":"#p"},`+
		`"contained":[{"resourceType":"Patient","id":"p","gender":"female"}]}`)
	inside.settle()

	none := func(typ string) Filter {
		if typ == "Patient" {
			return Filter{}
		}
		return Everything()
	}
	for _, row := range []struct {
		name      string
		index     Index
		query     Pair
		filter    func(string) Filter
		forbidden bool
	}{
		{"few", &orderly{memory: m}, Pair{"patient.family", "F12"}, everything, false},
		{"none", &orderly{memory: m}, Pair{"patient.gender", "other"}, everything, false},
		{"two links", &orderly{memory: m}, Pair{"encounter.patient.gender", "male"}, everything, false},
		{"contained", &orderly{memory: inside}, Pair{"patient.gender", "female"}, everything, false},
		{"an index without an order", m, Pair{"patient.gender", "female"}, everything, false},
		{"forbidden", &orderly{memory: m}, Pair{"patient.gender", "female"}, none, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			q, err := m.ps.Parse(t.Context(), []string{"Observation"}, []Pair{row.query}, true)
			if err != nil {
				t.Fatal(err)
			}

			_, ok, err := NewFinder(t.Context(), row.index, row.filter, row.filter).First(q, nil, 20)
			var e *Error
			if ok || row.forbidden != (errors.As(err, &e) && e.Code == Forbidden) {
				t.Errorf("%v, %v", ok, err)
			}
		})
	}
}

// A page of a chain costs what is on it, however many resources there are; where it would
// lead through too many others, it is left to Find.
func TestFollowedPageIsBounded(t *testing.T) {
	const patients = 100
	m := newMemory()
	for i := range patients {
		m.add(t, fmt.Sprintf(`{"resourceType":"Patient","id":"p%d","gender":"female"}`, i))
	}

	for i := range 2 * maxFollowed {
		status := "final"
		if i%patients >= 80 {
			status = "amended"
		}
		m.add(t,
			fmt.Sprintf(`{"resourceType":"Observation","id":"o%d","status":%q,"subject":{"reference":"Patient/p%d"}}`,
				i, status, i%patients))
	}

	m.settle()

	for _, row := range []struct {
		typ   string
		query Pair
		ok    bool
	}{
		{"Observation", Pair{"patient.gender", "female"}, true},
		{"Patient", Pair{"_has:Observation:patient:status", "final"}, true},
		{"Patient", Pair{"_has:Observation:patient:status", "amended"}, false}, // of the last patients
	} {
		t.Run(row.typ+" "+row.query.Value, func(t *testing.T) {
			q, err := m.ps.Parse(t.Context(), []string{row.typ}, []Pair{row.query}, true)
			if err != nil {
				t.Fatal(err)
			}

			index := &orderly{memory: m}
			r, ok, err := NewFinder(t.Context(), index, everything, everything).First(q, nil, 20)
			if err != nil || ok != row.ok || ok && len(r.Docs) != 20 {
				t.Errorf("%+v, %v, %v", r, ok, err)
			}
			if most := maxFollowed + 2*maxLook; index.scanned > most {
				t.Errorf("%d keys were read, at most %d", index.scanned, most)
			}
		})
	}
}
