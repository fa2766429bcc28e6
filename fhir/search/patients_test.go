package search_test

import (
	"slices"
	"testing"

	"fhirdest.example/fhir/search"
)

// The patients of a query are those that it names, however they are written.
// Covers: FS-302
func TestPatientsOfQueries(t *testing.T) {
	for _, row := range []struct {
		types       []string
		name, value string
		want        []string
	}{
		{[]string{"Observation"}, "patient", "p1", []string{"p1"}},
		{[]string{"Observation"}, "patient", "Patient/p1", []string{"p1"}},
		{[]string{"Observation"}, "subject:Patient", "p1,p2", []string{"p1", "p2"}},
		{[]string{"Observation"}, "encounter", "Encounter/e1", nil},
		{[]string{"Observation"}, "code", "p1", nil},
		{[]string{"Encounter"}, "subject", "Group/g1", nil},
		{[]string{"Observation", "Condition"}, "_id", "p1", nil},
	} {
		t.Run(row.name+"="+row.value, func(t *testing.T) {
			q, err := new(search.Parser).Parse(t.Context(), row.types, []search.Pair{{
				Name:  row.name,
				Value: row.value,
			}}, true)
			if err != nil {
				t.Fatal(err)
			}

			got := q.Patients()
			slices.Sort(got)
			if !slices.Equal(got, row.want) {
				t.Errorf("%q, want %q", got, row.want)
			}
		})
	}
}
