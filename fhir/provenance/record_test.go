package provenance_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"fhirdest.example/fhir/provenance"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/table"
	"fhirdest.example/fhir/tree"
	"fhirdest.example/fhir/validate"
)

const base = "https://fhir.test/acme/fhir"

var (
	at      = time.Date(2026, 11, 30, 10, 0, 0, 123_000_000, time.UTC)
	weight  = provenance.Target{Type: "Observation", ID: "w", Version: 3}
	patient = provenance.Target{Type: "Patient", ID: "p", Version: 12}
)

// parties are those that a request can be of.
var parties = map[string]provenance.Party{
	"client alone": {Client: "c1"},
	"organization": {
		Client:           "c1",
		Organization:     "https://clinic.test/org/1",
		OrganizationName: `The "Clinic"`,
	},
	"organization without a name": {Client: "c1", Organization: "https://clinic.test/org/1"},
	"person asserted":             {Client: "c1", Organization: "urn:x", SubjectID: "urn:oid:1.2#7", SubjectName: "Dr. Émile"},
	"name asserted":               {Client: "c1", Organization: "urn:x", SubjectName: "Dr. A"},
	"user":                        {Client: "c1", Subject: "s1", User: "Practitioner/dr"},
	"user without a resource":     {Client: "c1", Subject: "s1", Organization: "urn:x"},
	"long":                        {Client: strings.Repeat("c", 500), Organization: "https://" + strings.Repeat("o", 500)},
}

// What the server writes is R4, and is found by what search would find in it.
// Covers: FS-506
func TestRecordsAreFoundByWhatTheySay(t *testing.T) {
	for name, party := range parties {
		party.Base = base
		for i, targets := range [][]provenance.Target{{weight}, {patient}, {weight, patient}} {
			t.Run(fmt.Sprint(name, i), func(t *testing.T) {
				rec := provenance.Record{
					ID:       "prov-1",
					At:       at,
					Activity: provenance.Update,
					Targets:  targets,
					Patients: []string{"p", "q"},
					Labels:   []provenance.Label{{"http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "R"}, {"", "x y"}},
					Party:    &party,
				}
				checkRecord(t, rec.Body(), rec.Terms())
			})
		}
	}
}

func checkRecord(t *testing.T, body []byte, terms search.Terms) {
	t.Helper()
	root, err := tree.Parse(body)
	if err != nil {
		t.Fatal(err)
	}
	for _, issue := range validate.New(table.R4()).Resource(root, validate.Options{}) {
		t.Errorf("%+v", issue)
	}

	x := search.Extractor{Bases: search.Bases{base}}
	want, err := x.Extract("Provenance", root, search.Stamp{
		ID:      "prov-1",
		Updated: at,
	})
	if err != nil || !bytes.Equal(want, terms) {
		t.Errorf("%v: terms\n%q\nwant\n%q\n%s", err, terms, want, body)
	}

	var found []string
	search.Patients("Provenance", terms, func(id []byte) { found = append(found, string(id)) })
	slices.Sort(found)
	if found = slices.Compact(found); !slices.Equal(found, []string{"p", "q"}) {
		t.Errorf("it is in the records of %q", found)
	}
}

func changed(typ, id string, activity provenance.Activity, patients ...string) provenance.Change {
	return provenance.Change{
		Target:   provenance.Target{Type: typ, ID: id, Version: 1},
		Activity: activity,
		Patients: patients,
	}
}

// Changes of one patient's record are in one Provenance; of two, in two, so that
// neither names what is in the other's record.
// Covers: FS-506
func TestGroups(t *testing.T) {
	org := changed("Organization", "o", provenance.Create)
	mine := changed("Observation", "m", provenance.Create, "p")
	gone := changed("Condition", "g", provenance.Delete, "p")
	theirs := changed("Observation", "t", provenance.Update, "q")
	both := changed("RelatedPerson", "b", provenance.Update, "q", "p")
	prov := changed("Provenance", "x", provenance.Create, "p")

	for name, row := range map[string]struct {
		changes []provenance.Change
		want    string
	}{
		"none":               {nil, ""},
		"of a Provenance":    {[]provenance.Change{prov}, ""},
		"one":                {[]provenance.Change{mine}, "CREATE m [p]"},
		"one record":         {[]provenance.Change{mine, gone, prov}, "OPERATE m g [p]"},
		"with shared, after": {[]provenance.Change{mine, org}, "CREATE m o [p]"},
		"with shared, first": {[]provenance.Change{org, mine}, "CREATE o m [p]"},
		"two records":        {[]provenance.Change{mine, theirs, org, gone}, "OPERATE m g [p] UPDATE t [q] CREATE o []"},
		"of both":            {[]provenance.Change{both, mine}, "UPDATE b [p q] CREATE m [p]"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, r := range provenance.Group(row.changes) {
				got = append(got, string(r.Activity))
				for _, at := range r.Targets {
					got = append(got, at.ID)
				}
				got = append(got, fmt.Sprint(r.Patients))
			}
			if text := strings.Join(got, " "); text != row.want {
				t.Errorf("%s, want %s", text, row.want)
			}
		})
	}
}

// However much is changed at once, a Provenance has a bounded number of targets.
func TestManyTargetsAreDivided(t *testing.T) {
	var changes []provenance.Change
	for i := range 2500 {
		changes = append(changes, changed("Observation", fmt.Sprint(i), provenance.Create, "p"))
	}

	var sizes []int
	for _, r := range provenance.Group(changes) {
		sizes = append(sizes, len(r.Targets))
		r.ID, r.At, r.Party = "prov-1", at, &provenance.Party{Base: base, Client: "c"}
		r.Patients = []string{"p", "q"}
		checkRecord(t, r.Body(), r.Terms())
	}
	if !slices.Equal(sizes, []int{1000, 1000, 500}) {
		t.Errorf("targets: %d", sizes)
	}
}
