package match

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// elements are what is known of one person: each is a member of an array, or an
// element of its own.
var elements = map[string][]string{
	"identifier": {
		`{"type":{"coding":[{"code":"MR"}]},"system":"urn:a","value":"M1"}`,
		`{"type":{"coding":[{"code":"PPN"}]},"system":"urn:b","value":"P-22"}`,
		`{"type":{"coding":[{"code":"SS"}]},"system":"urn:c","value":"666-12-1234"}`,
		`{"value":"loose"}`,
	},
	"name": {
		`{"family":"Doe","given":["Jane","Mary"]}`,
		`{"family":"Brown","given":["Jane"]}`,
		`{"text":"Jane Mary Doe"}`,
	},
	"telecom": {
		`{"system":"phone","value":"617 555-0101"}`,
		`{"system":"phone","value":"617 555-0102"}`,
		`{"system":"email","value":"jane@example.org"}`,
	},
	"address": {
		`{"use":"home","line":["7 Elm Street"],"city":"Boston","state":"MA","postalCode":"02199"}`,
		`{"use":"old","line":["9 Oak Avenue"],"city":"Albany","state":"NY","postalCode":"12299"}`,
	},
	"gender":    {`"female"`},
	"birthDate": {`"1991-12-31"`},
}

// draw returns a person's description with some of the elements, in the order in
// which they were drawn.
func draw(r *rand.Rand, share float64) map[string][]string {
	out := map[string][]string{}
	for member, all := range elements {
		for _, i := range r.Perm(len(all)) {
			if r.Float64() < share {
				out[member] = append(out[member], all[i])
			}
		}
	}
	return out
}

func described(t *testing.T, of map[string][]string) *Person {
	t.Helper()
	body := `{"resourceType":"Patient"`
	for _, member := range []string{"identifier", "name", "telecom", "address"} {
		if len(of[member]) > 0 {
			body += fmt.Sprintf(`,%q:[%s]`, member, strings.Join(of[member], ","))
		}
	}

	for _, member := range []string{"gender", "birthDate"} {
		if len(of[member]) > 0 {
			body += fmt.Sprintf(`,%q:%s`, member, of[member][0])
		}
	}

	return NewPerson(parsed(t, []byte(body+"}")))
}

// Whatever is known of a person already, more that agrees lowers neither the score
// nor the grade, and the order of array members is of no effect.
func TestMoreThatAgreesNeverLowersAScore(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		candidate := draw(r, 0.7)
		input := draw(r, 0.4)
		before := Compare(described(t, input), described(t, candidate))

		shuffled := map[string][]string{}
		for member, all := range input {
			shuffled[member] = slices.Clone(all)
			r.Shuffle(len(all), func(i, j int) {
				of := shuffled[member]
				of[i], of[j] = of[j], of[i]
			})
		}

		if after := Compare(described(t, shuffled), described(t, candidate)); after != before {
			t.Fatalf("%v\n%v\nin another order %v, not %v", input, candidate, after, before)
		}

		for member, all := range candidate {
			for _, one := range all {
				if slices.Contains(input[member], one) {
					continue
				}

				more := map[string][]string{}
				for m, has := range input {
					more[m] = slices.Clone(has)
				}
				more[member] = append(more[member], one)
				if after := Compare(described(t, more), described(t, candidate)); after.Score < before.Score {
					t.Fatalf("%v\n%v\nwith %s: %v after %v", input, candidate, one, after, before)
				}
			}
		}
	}
}

// A person compared with itself is certain whenever name and date of birth and
// something else are known, and comparing is the same in both directions but for
// what only one of them has.
func TestOneselfIsCertain(t *testing.T) {
	all := map[string][]string{}
	for member, list := range elements {
		all[member] = list
	}
	if v := Compare(described(t, all), described(t, all)); v.Grade != Certain || v.edits != 0 {
		t.Errorf("%v", v)
	}
}
