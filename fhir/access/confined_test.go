package access_test

import (
	"fmt"
	"strings"
	"testing"

	"fhirdest.example/fhir/access"
	"fhirdest.example/fhir/scope"
)

// Nobody writes into a record that the grant does not reach: a resource is in the
// record of its subject and of its performer, and each of them counts. Reading it
// takes one of them.
//
// Covers: FS-302
func TestWritesStayWithinTheRecordsInReach(t *testing.T) {
	const all = "Observation.cruds"
	for _, row := range []struct {
		name, scopes       string
		subject, performer string
		patients           []string
		everybody          bool
		write              bool
	}{
		{"both are the patient in context", "patient/" + all, "p1", "p1", nil, false, true},
		{"about another patient", "patient/" + all, "p2", "p1", nil, false, false},
		{"made by another patient", "patient/" + all, "p1", "p2", nil, false, false},
		{"any type, about another", "patient/*.cruds", "p2", "p1", nil, false, false},
		{"a person with both", "user/" + all, "p2", "p1", []string{"p1", "p2"}, false, true},
		{"a person with one", "user/" + all, "p2", "p1", []string{"p1"}, false, false},
		{"a practitioner", "user/" + all, "p2", "p1", nil, true, true},
		{"a system", "system/" + all, "p2", "p1", nil, false, true},
		{
			"a wider scope of other content", "patient/" + all + " user/Observation.cruds?status=draft",
			"p2", "p1", nil, true, false,
		},
		{
			"a wider scope of this content", "patient/" + all + " user/Observation.cruds?status=final",
			"p2", "p1", nil, true, true,
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := access.NewReader(&access.Grant{
				Scopes:      scopesOf(t, row.scopes),
				Patient:     "p1",
				Patients:    row.patients,
				AllPatients: row.everybody,
			}, bases)

			v := stored(1, 1, "Observation", "o1", fmt.Sprintf(
				`{"resourceType":"Observation","id":"o1","status":"final",
				"subject":{"reference":"Patient/%s"},"performer":[{"reference":"Patient/%s"}]}`,
				row.subject, row.performer,
			))
			v, _, err := versions{v}.Current(t.Context(), "Observation", "o1")
			if err != nil {
				t.Fatal(err)
			}

			for p, want := range map[scope.Permission]bool{
				scope.Read:   true,
				scope.Create: row.write,
				scope.Update: row.write,
				scope.Delete: row.write,
			} {
				if got := r.Covers(p, v.Type, v.ID, v.Terms); got != want {
					t.Errorf("covers %v: %v", p, got)
				}

				got, reason, err := r.Sees(t.Context(), versions{v}, p, v)
				if got != want || err != nil || !want && reason != access.Beyond {
					t.Errorf("%v of it: %v, %q, %v", p, got, reason, err)
				}
			}
		})
	}
}

func scopesOf(t testing.TB, texts string) scope.Set {
	t.Helper()
	set, others := scope.ParseSet(strings.Fields(texts))
	if len(others) > 0 {
		t.Fatalf("no scopes of resources: %v", others)
	}
	return set
}
