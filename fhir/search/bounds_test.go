package search

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"fhirdest.example/fhir/tree"
)

// What a resource has beyond the bound on its terms is always the same, and
// never its labels and references, on which access and the audit rest.
func TestTermsOverTheBound(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"resourceType":"Patient","id":"p","meta":{"security":[{"code":"R"}]},"name":[`)
	for i := range maxTerms {
		fmt.Fprintf(&b, `{"family":"f%d","given":["g%d"]},`, i, i)
	}
	b.WriteString(`{"family":"z"}],"managingOrganization":{"reference":"Organization/o"},"link":[`)
	for i := range maxTerms {
		fmt.Fprintf(&b, `{"other":{"reference":"Patient/l%d"}},`, i)
	}

	b.WriteString(`{"other":{"reference":"RelatedPerson/last"}}]}`)

	m := newMemory()
	m.add(t, b.String())
	m.settle()

	for range 3 {
		again := newMemory()
		again.add(t, b.String())
		if !bytes.Equal(again.docs[0].terms, m.docs[0].terms) {
			t.Fatal("the terms are others each time")
		}
	}

	for _, pair := range []Pair{
		{"_security", "R"}, {"_id", "p"}, {"organization", "Organization/o"}, {"link", "Patient/l0"},
		{"link", "Patient/l4095"}, {"link", "RelatedPerson/last"},
	} {
		t.Run(pair.Name+"="+pair.Value, func(t *testing.T) {
			if ids, err := m.find(t, "Patient", true, pair); err != nil || len(ids) != 1 {
				t.Errorf("found %v, %v", ids, err)
			}
		})
	}
}

func TestTooManyReferencesAreRefused(t *testing.T) {
	body := `{"resourceType":"List","entry":[` +
		strings.Repeat(`{"item":{"reference":"Patient/p"}},`, maxReferences) + `{"item":{"reference":"Patient/q"}}]}`
	root, err := tree.Parse([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (&Extractor{}).Extract("List", root, Stamp{ID: "l"}); !errors.Is(err, ErrTooManyTerms) {
		t.Errorf("got %v", err)
	}
}

// A text longer than the index has is found by any part of it, and by all of it
// alone (R4 search 3.1.1.4.8).
func TestLongTexts(t *testing.T) {
	for _, size := range []int{150, 198, 203, 300, 5000, 100_000} {
		m := newMemory()
		body := func(id, end string) string {
			return `{"resourceType":"Observation","id":"` + id + `","valueString":"Début ` + strings.Repeat("x",
				size) + end + `"}`
		}
		m.add(t, body("one", "One-two"))
		m.add(t, body("three", "Three"))
		m.settle()

		text := "Début " + strings.Repeat("x", size)
		for _, row := range []struct{ name, modifier, value, want string }{
			{"beginning", "", "debut x", "one three"},
			{"all but the end", "", "debut " + strings.Repeat("x", size), "one three"},
			{"all", "", text + "one two", "one"},
			{"more", "", text + "one two three", ""},
			{"exactly", ":exact", text + "One-two", "one"},
			{"exactly, with another end", ":exact", text + "One-twO", ""},
			{"exactly the beginning", ":exact", text, ""},
			{"an end", ":contains", "xthree", "three"},
			{"an end with punctuation", ":contains", "e-t", "one"},
			{"the accent aside", ":contains", "DEBUT", "one three"},
			{"nowhere", ":contains", "four", ""},
		} {
			if len(row.value) > maxQueryBytes-100 {
				continue // no query has so much; the bound has a test of its own
			}
			t.Run(fmt.Sprintf("%d, %s", size, row.name), func(t *testing.T) {
				ids, err := m.find(t, "Observation", true, Pair{"value-string" + row.modifier, row.value})
				if got := strings.Join(ids, " "); err != nil || got != row.want {
					t.Errorf("got %q, %v, want %q", got, err, row.want)
				}
			})
		}
	}
}

func TestLongURLs(t *testing.T) {
	m := newMemory()
	long := "http://example.org/" + strings.Repeat("x", 300)
	m.add(t, `{"resourceType":"ValueSet","id":"a","url":"`+long+`/a"}`)
	m.add(t, `{"resourceType":"ValueSet","id":"b","url":"`+long+`/b"}`)
	m.settle()

	for _, row := range []struct{ modifier, value, want string }{
		{"", long + "/a", "a"}, {"", long, ""},
		{":below", "http://example.org/", "a b"}, {":below", long + "/b", "b"}, {":below", long, "a b"},
		{":above", long + "/a/c", "a"}, {":above", long, ""},
	} {
		t.Run(row.modifier+row.value[len(row.value)-5:], func(t *testing.T) {
			ids, err := m.find(t, "ValueSet", true, Pair{"url" + row.modifier, row.value})
			if got := strings.Join(ids, " "); err != nil || got != row.want {
				t.Errorf("got %q, %v, want %q", got, err, row.want)
			}
		})
	}
}

// An id without a type is refused where resources of several types have it and
// are referred to (R4 search 3.1.1.4.12), as far as the reader may find them.
func TestAmbiguousIDs(t *testing.T) {
	m := newMemory()
	for _, body := range []string{
		`{"resourceType":"Patient","id":"1"}`, `{"resourceType":"Group","id":"1"}`,
		`{"resourceType":"Patient","id":"2"}`, `{"resourceType":"Group","id":"3"}`,
		`{"resourceType":"Observation","id":"a","subject":{"reference":"Patient/1"}}`,
		`{"resourceType":"Observation","id":"b","subject":{"reference":"Group/1"}}`,
		`{"resourceType":"Observation","id":"c","subject":{"reference":"Patient/2"}}`,
		`{"resourceType":"Observation","id":"d","subject":{"reference":"Group/2"}}`,
	} {
		m.add(t, body)
	}

	m.settle()

	for _, row := range []struct {
		name, query string
		hidden      string // a type that the reader may not search
		want        int    // found; -1 for refused
	}{
		{"both are there", "subject=1", "", -1},
		{"one is hidden", "subject=1", "Group", 2},
		{"one is not there", "subject=2", "", 2},
		{"the type is named", "subject=Patient/1", "", 1},
		{"the type is a modifier", "subject:Group=1", "", 1},
		{"the parameter has one type", "patient=1", "", 1},
		{"nobody refers to it", "subject=3", "", 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			name, value, _ := strings.Cut(row.query, "=")
			q, err := m.ps.Parse(context.Background(), []string{"Observation"}, []Pair{{name, value}}, true)
			if err != nil {
				t.Fatal(err)
			}

			may := func(typ string) Filter {
				if typ == row.hidden {
					return Filter{}
				}
				return Everything()
			}
			found, err := NewFinder(context.Background(), m, may, may).Find(q)
			var e *Error
			switch {
			case row.want < 0:
				if !errors.As(err, &e) || e.Code != "multiple-matches" {
					t.Errorf("got %v", err)
				}
			case err != nil || len(found.Docs) != row.want:
				t.Errorf("found %v, %v", found, err)
			}
		})
	}
}
