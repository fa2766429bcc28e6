package server

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/search"
	"fhirdest.example/server/people"
)

// patients finds the patients of the FHIR service for the pages of people.
type patients struct {
	store fhir.Store
	now   func() time.Time
}

// Patient implements people.Patients.
func (p patients) Patient(ctx context.Context, id string) (found *people.Patient, err error) {
	err = p.store.View(ctx, func(sn fhir.Snapshot) error {
		found = nil
		doc, ok, err := sn.Find(ctx, "Patient", id)
		if err != nil || !ok {
			return err
		}

		body, err := sn.Body(ctx, doc)
		if err != nil {
			return err
		}

		patient := readPatient(id, body)
		found = &patient
		return nil
	})
	return found, err
}

// dateForm is a date, or the beginning of one, as FHIR writes it.
var dateForm = regexp.MustCompile(`^[0-9]{4}(-[0-9]{2}){0,2}$`)

// Search implements people.Patients: every word is the beginning of a name, or a
// birth date; or the whole is an identifier.
func (p patients) Search(
	ctx context.Context, text string, n int,
) (found []people.Patient, more bool, err error) {
	var words []search.Pair
	for _, word := range strings.Fields(text) {
		name := "name"
		if dateForm.MatchString(word) {
			name = "birthdate"
		}
		words = append(words, search.Pair{
			Name:  name,
			Value: escaped(word),
		})
	}

	whole := []search.Pair{{
		Name:  "identifier",
		Value: escaped(strings.TrimSpace(text)),
	}}

	err = p.store.View(ctx, func(sn fhir.Snapshot) error {
		var docs []uint64
		for _, pairs := range [][]search.Pair{words, whole} {
			some, err := p.find(ctx, sn, pairs)
			if err != nil {
				return err
			}
			docs = append(docs, some...)
		}

		slices.Sort(docs)
		docs = slices.Compact(docs)
		more = len(docs) > n
		found, err = read(ctx, sn, docs[:min(len(docs), n)])
		return err
	})
	return found, more, err
}

// escaped writes a text as one literal value of a search.
func escaped(text string) string {
	return strings.NewReplacer(`\`, `\\`, ",", `\,`, "$", `\$`, "|", `\|`).Replace(text)
}

func (p patients) find(
	ctx context.Context, sn fhir.Snapshot, pairs []search.Pair,
) ([]uint64, error) {
	if len(pairs) == 0 {
		return nil, nil
	}

	parser := search.Parser{Now: p.now}
	q, err := parser.Parse(ctx, []string{"Patient"}, pairs, true)
	if err != nil {
		return nil, nil // what no search can be made of finds nobody
	}

	all := func(string) search.Filter {
		return search.Everything()
	}
	result, err := search.NewFinder(ctx, sn, all, all).Find(q)
	if err != nil {
		return nil, err
	}

	return result.Docs, nil
}

func read(
	ctx context.Context, sn fhir.Snapshot, docs []uint64,
) (found []people.Patient, err error) {
	err = sn.Entries(ctx, docs, func(e fhir.Entry) bool {
		if !e.Deleted {
			found = append(found, readPatient(e.ID, e.Body))
		}
		return true
	})
	slices.SortStableFunc(
		found,
		func(a, b people.Patient) int {
			return strings.Compare(a.Name, b.Name)
		},
	)
	return found, err
}

// humanName is the part of FHIR's HumanName that a page shows.
type humanName struct {
	Use    string   `json:"use"`
	Text   string   `json:"text"`
	Family string   `json:"family"`
	Given  []string `json:"given"`
}

// readPatient reads what a page shows of a patient. What cannot be read is left
// out: the id always names them.
func readPatient(id string, body []byte) people.Patient {
	var p struct {
		Name       []humanName `json:"name"`
		BirthDate  string      `json:"birthDate"`
		Gender     string      `json:"gender"`
		Identifier []struct {
			Value string `json:"value"`
		} `json:"identifier"`
	}
	_ = json.Unmarshal(body, &p) // of a resource that was validated when it was stored

	out := people.Patient{
		ID:        id,
		BirthDate: p.BirthDate,
		Sex:       p.Gender,
	}

	if len(p.Identifier) > 0 {
		out.Identifier = p.Identifier[0].Value
	}

	for _, use := range []string{"official", "usual", ""} {
		for _, n := range p.Name {
			if out.Name == "" && (n.Use == use || use == "") {
				out.Name = n.String()
			}
		}
	}

	return out
}

func (n humanName) String() string {
	if n.Text != "" {
		return n.Text
	}
	return strings.TrimSpace(strings.Join(n.Given, " ") + " " + n.Family)
}
