package match_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/async/asyncenv"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/tree"
)

// crowd stores n patients who have much in common, and puts where they differ in
// the place of %d.
func crowd(t *testing.T, e *asyncenv.Env, n int, members string) {
	t.Helper()
	x := search.Extractor{Bases: search.Bases{asyncenv.Base}}
	err := e.Store.Update(t.Context(), func(c fhir.Change) error {
		for i := range n {
			id := fmt.Sprintf("crowd-%d", i)
			body := `{"resourceType":"Patient","id":"` + id + `","meta":{"versionId":"1"},` +
				strings.ReplaceAll(members, "%d", fmt.Sprintf("%05d", i)) + `}`
			root, err := tree.Parse([]byte(body))
			if err != nil {
				return err
			}
			terms, err := x.Extract("Patient", root, search.Stamp{ID: id, Updated: time.Now()})
			if err != nil {
				return err
			}
			_, err = c.Put(t.Context(), fhir.Entry{
				Type:    "Patient",
				ID:      id,
				Version: 1,
				Updated: time.Now(),
				Terms:   terms,
				Body:    []byte(body),
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	e.Must(err)
}

// In a crowd, what fits too many is not looked at, and the answer names that; what
// names one person still finds it.
//
// Covers: case 268
func TestACrowdIsNotReadThrough(t *testing.T) {
	e := asyncenv.New(t)
	crowd(t, e, 5000, `"name":[{"family":"Doe","given":["Jane"]}],"birthDate":"1991-12-31",`+
		`"identifier":[{"system":"urn:x","value":"N%d"}],`+
		`"address":[{"line":["%d South Maple Street"],"city":"Scranton","state":"PA"}]`)
	ask := func(members string) string {
		return read(t, e.Do("POST", "/Patient/$match", matcher, parameters("IDI-Patient", members, ""))).grades()
	}

	if got := ask(jane); got != "too-costly, not-found" {
		t.Errorf("of 5,000 who are called and born alike: %s", got)
	}
	if got := ask(`"identifier":[{"system":"urn:x","value":"N04321"}],` + jane); !strings.HasPrefix(got, "crowd-4321 certain") {
		t.Errorf("by an identifier: %s", got)
	}
	if got := ask(`"address":[{"use":"home","line":["04321 S Maple St"],"city":"Scranton","state":"PA"}],` + jane); !strings.HasPrefix(got, "crowd-4321 certain") {
		t.Errorf("by an address: %s", got)
	}
}
