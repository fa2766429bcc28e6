package access_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"fhirdest.example/fhir/access"
	"fhirdest.example/fhir/scope"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/tree"
	"fhirdest.example/udap/trace"
)

var bases = search.Bases{"https://fhir.test/r4"}

func reader(t testing.TB, scopes, patient string) *access.Reader {
	t.Helper()
	return access.NewReader(&access.Grant{
		Scopes:      scopesOf(t, scopes),
		Patient:     patient,
		Client:      "c1",
		AllPatients: true,
	}, bases)
}

// versions is a source of a few versions of resources.
type versions []access.Resource

// stored makes a version of a body; "" is a deletion.
func stored(doc, version uint64, typ, id, body string) access.Resource {
	return access.Resource{
		Doc:     doc,
		Type:    typ,
		ID:      id,
		Version: version,
		Deleted: body == "",
		Body:    []byte(body),
	}
}

func (all versions) Current(_ context.Context, typ, id string) (access.Resource, bool, error) {
	for _, v := range slices.Backward(all) {
		if v.Type == typ && v.ID == id {
			root, err := tree.Parse(v.Body)
			if err != nil {
				return v, true, nil // a deletion
			}
			x := search.Extractor{Bases: bases}
			v.Terms, err = x.Extract(typ, root, search.Stamp{ID: id})
			return v, true, err
		}
	}

	return access.Resource{}, false, nil
}

func (all versions) Version(_ context.Context, doc, version uint64) (access.Resource, bool, error) {
	for _, v := range all {
		if v.Doc == doc && v.Version == version {
			return v, true, nil
		}
	}
	return access.Resource{}, false, nil
}

func (all versions) Resource(context.Context, uint64) (access.Resource, error) {
	return access.Resource{}, errors.New("not asked for here")
}

func (all versions) Resources(context.Context, []uint64, func(access.Resource) bool) error {
	return errors.New("not asked for here")
}

func (versions) Prepare(context.Context, []search.Clause) error { return nil }

func (versions) Having(context.Context, search.Clause, func(uint64) bool) error { return nil }

func (versions) State() any { return nil }

func (versions) Consents() any { return nil }

func (versions) Parse(v access.Resource) (*tree.Value, error) { return tree.Parse(v.Body) }

const (
	mine   = `{"resourceType":"Observation","id":"o","status":"final","subject":{"reference":"Patient/p"}}`
	theirs = `{"resourceType":"Observation","id":"o","status":"final","subject":{"reference":"Patient/q"}}`
	binary = `{"resourceType":"Binary","id":"b","securityContext":{"reference":"Observation/o"}}`
)

// seesRow is one decision: by the scopes of a token, on one of some versions.
type seesRow struct {
	scopes, patient string
	all             versions
	of              int // which of all is decided
	want            access.Reason
}

var seesRows = map[string]seesRow{
	"everything": {
		"system/*.r", "", versions{stored(1, 1, "Observation", "o", mine)}, 0, access.Visible,
	},
	"the type": {
		"system/Observation.r", "", versions{stored(1, 1, "Observation", "o", mine)}, 0,
		access.Visible,
	},
	"another type": {
		"system/Patient.r", "", versions{stored(1, 1, "Observation", "o", mine)}, 0,
		access.NoScope,
	},
	"another interaction": {
		"system/Observation.s", "", versions{stored(1, 1, "Observation", "o", mine)}, 0,
		access.NoScope,
	},
	"own record": {
		"patient/*.r", "p", versions{stored(1, 1, "Observation", "o", mine)}, 0,
		access.Visible,
	},
	"another's record": {
		"patient/*.r", "p", versions{stored(1, 1, "Observation", "o", theirs)}, 0,
		access.Outside,
	},
	"no patient": {
		"patient/*.r", "", versions{stored(1, 1, "Observation", "o", mine)}, 0, access.NoScope,
	},
	"restricted, matches": {
		"system/Observation.r?status=final", "",
		versions{stored(1, 1, "Observation", "o", mine)}, 0, access.Visible,
	},
	"restricted, does not": {
		"system/Observation.r?status=amended", "",
		versions{stored(1, 1, "Observation", "o", mine)}, 0, access.Outside,
	},
	"earlier version, own": {
		"patient/*.r", "p",
		versions{stored(1, 1, "Observation", "o", mine), stored(1, 2, "Observation", "o", theirs)},
		0, access.Visible,
	},
	"later version, another's": {
		"patient/*.r", "p",
		versions{stored(1, 1, "Observation", "o", mine), stored(1, 2, "Observation", "o", theirs)},
		1, access.Outside,
	},
	"deleted, own": {
		"patient/*.r", "p",
		versions{stored(1, 1, "Observation", "o", mine), stored(1, 2, "Observation", "o", "")},
		1, access.Visible,
	},
	"deleted, another's": {
		"patient/*.r", "p",
		versions{stored(1, 1, "Observation", "o", theirs), stored(1, 2, "Observation", "o", "")},
		1, access.Erased,
	},
	"deleted from the start": {
		"patient/*.r", "p", versions{stored(1, 1, "Observation", "o", "")}, 0, access.Erased,
	},
	"shared type": {
		"patient/Organization.r", "p",
		versions{stored(1, 1, "Organization", "x", `{"resourceType":"Organization","id":"x"}`)},
		0, access.Visible,
	},
	"Group": {
		"patient/Group.r", "p",
		versions{stored(1, 1, "Group", "x", `{"resourceType":"Group","id":"x"}`)}, 0,
		access.NoScope,
	},
	"records by everything": {
		"system/*.r", "",
		versions{stored(1, 1, "AuditEvent", "x", `{"resourceType":"AuditEvent","id":"x"}`)}, 0,
		access.NoScope,
	},
}

// binaryRows are those on a Binary, which its security context decides, too.
var binaryRows = map[string]seesRow{
	"Binary, context seen": {
		"system/Binary.r system/Observation.r?status=final", "",
		versions{stored(1, 1, "Observation", "o", mine), stored(2, 1, "Binary", "b", binary)},
		1, access.Visible,
	},
	"Binary, context not": {
		"system/Binary.r", "",
		versions{stored(1, 1, "Observation", "o", mine), stored(2, 1, "Binary", "b", binary)},
		1, access.Context,
	},
	"Binary, context elsewhere": {
		"system/Binary.r system/Observation.r?status=amended", "",
		versions{stored(1, 1, "Observation", "o", mine), stored(2, 1, "Binary", "b", binary)},
		1, access.Context,
	},
	"Binary, context gone": {
		"system/Binary.r system/Observation.r?status=final", "",
		versions{stored(2, 1, "Binary", "b", binary)}, 0, access.Context,
	},
	"Binary, context unreadable": {"system/*.r", "", versions{stored(2, 1, "Binary", "b",
		`{"resourceType":"Binary","id":"b","securityContext":{"display":"x"}}`)}, 0, access.Context},
	"Binary, no context": {
		"system/Binary.r", "",
		versions{stored(2, 1, "Binary", "b", `{"resourceType":"Binary","id":"b"}`)}, 0,
		access.Visible,
	},
	"Binary, deleted, context": {
		"system/Binary.r", "",
		versions{stored(2, 1, "Binary", "b", binary), stored(2, 2, "Binary", "b", "")}, 1,
		access.Erased,
	},
}

// A version is decided by its own content, a deletion by what it deleted, and a
// Binary by its security context as well.
// Covers: FS-302
func TestSees(t *testing.T) {
	for _, rows := range []map[string]seesRow{seesRows, binaryRows} {
		for name, row := range rows {
			t.Run(name, row.test)
		}
	}
}

func (c seesRow) test(t *testing.T) {
	r := reader(t, c.scopes, c.patient)
	ok, reason, err := r.Sees(t.Context(), c.all, scope.Read, c.all[c.of])
	if err != nil || reason != c.want || ok != (c.want == access.Visible) {
		t.Errorf("%v, %q, %v, want %q", ok, reason, err, c.want)
	}
	if r.Refused() == ok {
		t.Error("the decision is not recorded")
	}
}

// Covers: ER-22 (audit)
func TestRecordsAreTheClientsOwn(t *testing.T) {
	record := func(client string) access.Resource {
		return stored(1, 1, "AuditEvent", "x", fmt.Sprintf(
			`{"resourceType":"AuditEvent","id":"x","agent":[{"who":{"identifier":{"value":%q}}}]}`, client))
	}

	for name, c := range map[string]struct {
		client string
		all    bool
		want   bool
	}{
		"own":                  {"c1", false, true},
		"another's":            {"c2", false, false},
		"another's, by config": {"c2", true, true},
		"begins like own":      {"c11", false, false},
		"nobody's":             {"", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			set, _ := scope.ParseSet([]string{"system/AuditEvent.rs"})
			r := access.NewReader(&access.Grant{Scopes: set, Client: "c1", AllRecords: c.all}, bases)
			ok, _, err := r.Sees(t.Context(), versions{}, scope.Read, record(c.client))
			if err != nil || ok != c.want {
				t.Errorf("%v, %v, want %v", ok, err, c.want)
			}
		})
	}
}

// A refusal names every scope that would do.
// Covers: FS-301
func TestRefusalNamesSufficientScopes(t *testing.T) {
	for name, c := range map[string]struct {
		patient, typ string
		ask          scope.Permission
		want         string
	}{
		"read": {"", "Patient", scope.Read,
			"system/Patient.r system/Patient.read system/*.r system/*.read user/Patient.r user/Patient.read user/*.r user/*.read"},
		"update": {"", "Patient", scope.Update,
			"system/Patient.u system/Patient.write system/*.u system/*.write user/Patient.u user/Patient.write user/*.u user/*.write"},
		"records": {"", "AuditEvent", scope.Search,
			"system/AuditEvent.s system/AuditEvent.read user/AuditEvent.s user/AuditEvent.read"},
		"with a patient": {"p", "Organization", scope.Read,
			"system/Organization.r system/Organization.read system/*.r system/*.read user/Organization.r user/Organization.read " +
				"user/*.r user/*.read patient/Organization.r patient/Organization.read patient/*.r patient/*.read"},
		"not for patients": {"p", "Group", scope.Create,
			"system/Group.c system/Group.write system/*.c system/*.write user/Group.c user/Group.write user/*.c user/*.write"},
	} {
		t.Run(name, func(t *testing.T) {
			r := reader(t, "", c.patient)
			var refusal *access.Refusal
			if err := r.May(c.ask, c.typ); !errors.As(err, &refusal) || strings.Join(refusal.Scopes, " ") != c.want {
				t.Fatalf("got %v, %+v, want %s", err, refusal, c.want)
			}

			for _, text := range refusal.Scopes {
				if r := reader(t, text, c.patient); r.May(c.ask, c.typ) != nil {
					t.Errorf("%s does not do", text)
				}
			}
		})
	}
}

// Scopes of the context user reach what the person may see: the records of some
// patients, and what belongs to no patient, or everything.
func TestUserScopes(t *testing.T) {
	body := func(typ, patient string) access.Resource {
		text := `{"resourceType":"` + typ + `","id":"x","subject":{"reference":"Patient/` + patient + `"}}`
		if typ == "Organization" || typ == "Group" {
			text = `{"resourceType":"` + typ + `","id":"x"}`
		}
		return stored(1, 1, typ, "x", text)
	}

	for name, c := range map[string]struct {
		patients []string
		all      bool
		context  string // the patient in context
		of       access.Resource
		scopes   string
		want     bool
	}{
		"one's own":            {[]string{"p"}, false, "", body("Observation", "p"), "user/*.rs", true},
		"the second of two":    {[]string{"q", "p"}, false, "", body("Observation", "p"), "user/*.rs", true},
		"another's":            {[]string{"q"}, false, "", body("Observation", "p"), "user/*.rs", false},
		"nobody":               {nil, false, "", body("Observation", "p"), "user/*.rs", false},
		"no id":                {[]string{""}, false, "", body("Observation", "p"), "user/*.rs", false},
		"a patient in context": {nil, false, "p", body("Observation", "p"), "user/*.rs", false},
		"patient beside user": {
			[]string{"q"}, false, "p", body("Observation", "p"), "user/*.rs patient/*.rs", true,
		},
		"a practitioner":         {nil, true, "q", body("Observation", "p"), "user/*.rs", true},
		"practitioner, patient/": {nil, true, "q", body("Observation", "p"), "patient/*.rs", false},
		"restricted": {
			[]string{"p"}, false, "", body("Observation", "p"), "user/Observation.rs?status=final",
			false,
		},
		"belongs to no patient":   {[]string{"p"}, false, "", body("Organization", ""), "user/*.rs", true},
		"a group":                 {[]string{"p"}, false, "", body("Group", ""), "user/*.rs", false},
		"a group, a practitioner": {nil, true, "", body("Group", ""), "user/*.rs", true},
	} {
		t.Run(name, func(t *testing.T) {
			set, _ := scope.ParseSet(strings.Fields(c.scopes))
			r := access.NewReader(&access.Grant{
				Scopes:      set,
				Patient:     c.context,
				Patients:    c.patients,
				AllPatients: c.all,
			}, bases)
			ok, reason, err := r.Sees(t.Context(), versions{c.of}, scope.Read, c.of)
			if err != nil || ok != c.want {
				t.Errorf("%v, %q, %v, want %v", ok, reason, err, c.want)
			}
		})
	}
}

func TestTraceHoldsEachDecision(t *testing.T) {
	r := reader(t, "patient/Observation.r", "p")
	if r.Consulted() || r.Refused() {
		t.Error("a new Reader has decided something")
	}
	if err := r.May(scope.Read, "Observation"); err != nil {
		t.Fatal(err)
	}
	r.Sees(t.Context(), versions{}, scope.Read, stored(1, 1, "Observation", "o", theirs))

	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	got := r.Trace(at)
	if got.ID == "" || got.ClientID != "c1" || !got.Time.Equal(at) || got.Code != trace.AccessDenied ||
		len(got.Steps) != 2 {
		t.Fatalf("%+v", got)
	}

	for i, want := range []trace.Step{
		{Check: "access.scope", Verdict: trace.Passed, Found: "Observation"},
		{Check: "access.resource", Verdict: trace.Refused, Expected: "Observation/o", Found: string(access.Outside)},
	} {
		s := got.Steps[i]
		if s.Check != want.Check || s.Verdict != want.Verdict || s.Expected != want.Expected || s.Found != want.Found {
			t.Errorf("step %d: %+v", i, s)
		}
	}

	for range 1000 {
		r.Missed("Observation/x")
	}
	if n := len(r.Trace(at).Steps); n > 100 {
		t.Errorf("%d steps", n)
	}
}

func ExampleReader() {
	scopes, _ := scope.ParseSet([]string{"system/Observation.rs?status=final"})
	r := access.NewReader(&access.Grant{Scopes: scopes, Client: "c1"}, bases)
	fmt.Println(r.Can(scope.Search, "Observation"), r.Everything(scope.Search, "Observation"))
	fmt.Println(r.May(scope.Read, "Patient"))
	// Output:
	// true false
	// The token's scopes do not allow this on Patient.
}
