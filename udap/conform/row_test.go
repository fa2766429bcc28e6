package conform_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"fhirdest.example/udap/conform"
)

// Every row of the repository's table of UDAP requirements is in the catalogue, with
// a title, a link and an actor; and rows that say the same name rows that do not.
func TestCatalogue(t *testing.T) {
	table, err := os.ReadFile("../../scripts/conformance/requirements.tsv")
	if err != nil {
		t.Fatal(err)
	}

	n := 0
	for line := range strings.Lines(string(table)) {
		id, _, _ := strings.Cut(line, "\t")
		if !strings.HasPrefix(id, "S1-") && !strings.HasPrefix(id, "S2-") {
			continue
		}
		n++
		if _, ok := conform.Lookup(id); !ok {
			t.Errorf("%s is not in the catalogue", id)
		}
	}
	if n < 300 {
		t.Errorf("only %d rows in the table", n)
	}

	for _, r := range conform.Rows() {
		if r.Title == "" || r.Link == "" || len(r.Actors) == 0 || r.Level == "" {
			t.Errorf("%+v lacks something", r)
		}
		for _, id := range r.Same {
			other, ok := conform.Lookup(id)
			if !ok || len(other.Same) > 0 {
				t.Errorf("%s is said to be as %s", r.ID, id)
			}
		}
	}
}

// A profile decides which rows bind.
func TestProfiles(t *testing.T) {
	for _, row := range []struct {
		id    string
		actor conform.Actor
		binds []conform.Profile
	}{
		{"S1-077", conform.Client, conform.Profiles()},
		{"S1-077", conform.Server, nil},
		{"S1-022", conform.Server, conform.Profiles()},
		{"S2-13", conform.Client, []conform.Profile{conform.SSRAA2, conform.TEFCA}},
		{"TF-46", conform.Client, []conform.Profile{conform.TEFCA}},
		{"C-01", conform.Client, conform.Profiles()},
	} {
		t.Run(row.id+" "+string(row.actor), func(t *testing.T) {
			r, _ := conform.Lookup(row.id)
			var binds []conform.Profile
			for _, p := range conform.Profiles() {
				if r.Binds(row.actor, p) {
					binds = append(binds, p)
				}
			}
			if len(binds) != len(row.binds) {
				t.Errorf("binds under %v", binds)
			}
		})
	}
}

// Rows that say the same are named by those that are assessed.
func TestAlso(t *testing.T) {
	r, _ := conform.Lookup("S1-224")
	if also := r.Also(conform.Client, conform.SSRAA2); !slices.Equal(also, []string{"S2-20"}) {
		t.Errorf("edition 2: %q", also)
	}
	if also := r.Also(conform.Client, conform.SSRAA1); len(also) > 0 {
		t.Errorf("edition 1: %q", also)
	}
}

// A link is named in words.
func TestSections(t *testing.T) {
	for id, section := range map[string]string{
		"S1-141": "RFC 6749, section 4.1.3",
		"S1-077": "UDAP Security 1.0, registration, software statement",
		"S2-13":  "UDAP Security 2.0, general",
		"C-02":   "FHIR R4, http, paging",
	} {
		r, _ := conform.Lookup(id)
		if got := r.Section(); got != section {
			t.Errorf("%s: %q", id, got)
		}
	}
}
