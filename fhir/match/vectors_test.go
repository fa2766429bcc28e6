package match

import (
	"os"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/fhir/tree"
)

// vector is one input with a population and the grades that the people in it get.
type vector struct {
	About      string                    `json:"about"`
	Input      jsontext.Value            `json:"input"`
	Population map[string]jsontext.Value `json:"population"`
	Expected   map[string]Grade          `json:"expected"`
}

func vectors(t *testing.T) []vector {
	t.Helper()
	raw, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}

	var all []vector
	if err := json.Unmarshal(raw, &all, json.RejectUnknownMembers(true)); err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("there is no vector")
	}

	return all
}

func parsed(t testing.TB, patient []byte) *tree.Value {
	t.Helper()
	root, err := tree.Parse(patient)
	if err != nil {
		t.Fatalf("%v: %s", err, patient)
	}
	return root
}

// Each vector's people get the grade that is expected, and the order of grades is
// that of scores.
func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.About, func(t *testing.T) {
			if len(v.Population) != len(v.Expected) {
				t.Fatalf("%d people, %d grades", len(v.Population), len(v.Expected))
			}

			input := NewPerson(parsed(t, v.Input))
			for name, patient := range v.Population {
				got := Compare(input, NewPerson(parsed(t, patient)))
				if got.Grade != v.Expected[name] {
					t.Errorf("%s: %s at %g, want %s", name, got.Grade, got.Score, v.Expected[name])
				}
				if got.Grade != gradeOf(got.Score) || got.Score < 0 || got.Score >= 1 {
					t.Errorf("%s: score %g is %s", name, got.Score, got.Grade)
				}
			}
		})
	}
}
