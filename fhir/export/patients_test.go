package export_test

import (
	"fmt"
	"strings"
	"testing"

	"fhirdest.example/fhir/async/asyncenv"
)

// record are resources of two patients, with what they refer to.
var record = []string{
	`{"resourceType":"Organization","id":"top","name":"Top"}`,
	`{"resourceType":"Organization","id":"org","name":"Org","partOf":{"reference":"Organization/top"}}`,
	`{"resourceType":"Organization","id":"other","name":"Other"}`,
	`{"resourceType":"Practitioner","id":"prac","active":true}`,
	`{"resourceType":"Patient","id":"p","managingOrganization":{"reference":"Organization/org"}}`,
	`{"resourceType":"Patient","id":"q","managingOrganization":{"reference":"Organization/other"}}`,
	`{"resourceType":"Observation","id":"op","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/p"},"performer":[{"reference":"Practitioner/prac"}]}`,
	`{"resourceType":"Observation","id":"oq","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/q"}}`,
	`{"resourceType":"Observation","id":"nobody","status":"final","code":{"text":"x"}}`,
	`{"resourceType":"Group","id":"g","type":"person","actual":true,"member":[{"entity":{"reference":"Patient/p"}},{"entity":{"reference":"Patient/q"},"inactive":true}]}`,
	`{"resourceType":"Group","id":"outer","type":"person","actual":true,"member":[{"entity":{"reference":"Group/g"}}]}`,
	`{"resourceType":"Group","id":"ring","type":"person","actual":true,"member":[{"entity":{"reference":"Group/ring"}},{"entity":{"reference":"Patient/q"}}]}`,
	`{"resourceType":"Group","id":"empty","type":"person","actual":true}`,
	provenance("first", "2020-01-01T00:00:00Z", "Observation/op"),
	provenance("second", "2021-01-01T00:00:00Z", "Observation/op"),
	provenance("theirs", "2021-01-01T00:00:00Z", "Observation/oq"),
}

func provenance(id, recorded, target string) string {
	return fmt.Sprintf(`{"resourceType":"Provenance","id":%q,"recorded":%q,"target":[{"reference":%q}],`+
		`"agent":[{"who":{"display":"x"}}]}`, id, recorded, target)
}

func put(t testing.TB, e *asyncenv.Env, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		if w := e.Do("PUT", "/"+identity(t, body), asyncenv.All, body); w.Code > 201 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
}

// An export of patients has their records and what these refer to, and nothing of
// others; that of a Group has its active members, those of Groups in it included.
func TestPatientsAndGroups(t *testing.T) {
	e := newEnv(t, 0)
	put(t, e, record...)
	const members = "Organization/org Organization/top Patient/p Observation/op Practitioner/prac"
	posted := `{"resourceType":"Parameters","parameter":[{"name":"patient","valueReference":{"reference":"Patient/%s"}}]}`
	for name, c := range map[string]struct {
		method, path, body string
		want               string
	}{
		"Group":                {"GET", "/Group/g/$export", "", members + " Group/g"},
		"Group within a Group": {"GET", "/Group/outer/$export", "", members + " Group/outer"},
		"Group in itself": {
			"GET",
			"/Group/ring/$export",
			"",
			"Organization/other Patient/q Observation/oq Group/ring",
		},
		"Group of nobody":      {"GET", "/Group/empty/$export", "", "Group/empty"},
		"Group and patient":    {"POST", "/Group/g/$export", fmt.Sprintf(posted, "p"), members + " Group/g"},
		"patient not in Group": {"POST", "/Group/g/$export", fmt.Sprintf(posted, "q"), "Group/g"},
		"one patient":          {"POST", "/Patient/$export", fmt.Sprintf(posted, "p"), members},
		"all patients": {
			"GET",
			"/Patient/$export",
			"",
			members + " Organization/other Patient/q Observation/oq",
		},
		"types": {
			"GET",
			"/Group/g/$export?_type=Observation,Practitioner",
			"",
			"Observation/op Practitioner/prac",
		},
		"relevant": {"GET", "/Group/g/$export?_type=Observation&includeAssociatedData=RelevantProvenanceResources", "",
			"Observation/op Provenance/first Provenance/second"},
		"latest": {"GET", "/Group/g/$export?_type=Observation&includeAssociatedData=LatestProvenanceResources", "",
			"Observation/op Provenance/second"},
		"relevant, system": {"GET", "/$export?_type=Observation&includeAssociatedData=RelevantProvenanceResources", "",
			"Observation/op Observation/oq Observation/nobody Provenance/first Provenance/second Provenance/theirs"},
		"latest, filtered": {"GET", "/$export?_type=Observation&_typeFilter=Observation%3Fsubject%3DPatient/q&includeAssociatedData=LatestProvenanceResources",
			"", "Observation/oq Provenance/theirs"},
	} {
		t.Run(name, func(t *testing.T) {
			m := exported(t, e, c.method, c.path, asyncenv.All, c.body)
			want := map[string]string{}
			for _, key := range strings.Fields(c.want) {
				want[key] = m.lines[key]
			}
			same(t, m.lines, want)

			for key, line := range want {
				if line == "" {
					t.Errorf("%s is missing", key)
				}
			}
		})
	}
}

// An export has what the token reads and searches, and no more.
//
// Covers: FS-302
func TestGrants(t *testing.T) {
	e := newEnv(t, 0)
	put(t, e, record...)
	for name, c := range map[string]struct{ token, path, want string }{
		"a type":             {"system/Patient.rs", "/$export", "Patient/p Patient/q"},
		"a restricted scope": {"system/Observation.rs?subject=Patient/q", "/$export", "Observation/oq"},
		"read, not search":   {"system/Patient.rs system/Observation.r", "/$export", "Patient/p Patient/q"},
		"a patient's own": {
			"patient/*.rs; patient=p",
			"/Patient/$export",
			"Patient/p Observation/op Organization/org Organization/top Practitioner/prac",
		},
		"a patient's, system": {
			"patient/Observation.rs patient/Patient.rs; patient=p",
			"/$export",
			"Patient/p Observation/op",
		},
		"not what is shared": {"system/Patient.rs system/Group.rs", "/Group/g/$export", "Patient/p Group/g"},
		"not the members": {
			"system/Observation.rs?subject=Patient/q system/Group.rs",
			"/Group/g/$export",
			"Group/g",
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := exported(t, e, "GET", c.path, c.token, "")
			want := map[string]string{}
			for _, key := range strings.Fields(c.want) {
				want[key] = m.lines[key]
			}
			same(t, m.lines, want)

			for key, line := range want {
				if line == "" {
					t.Errorf("%s is missing", key)
				}
			}
		})
	}

	if w := e.Do("GET", "/Group/g/$export", "patient/*.rs; patient=p", "", "Prefer",
		"respond-async"); w.Code != 403 && w.Code != 404 {
		t.Errorf("a Group, for a patient: %d", w.Code)
	}
}

// Whose data was exported is in the audit records of these patients.
func TestDisclosureIsRecorded(t *testing.T) {
	e := newEnv(t, 0)
	put(t, e, record...)
	exported(t, e, "GET", "/Group/ring/$export", asyncenv.All, "")
	const reader = asyncenv.All + " system/AuditEvent.rs"

	for patient, want := range map[string]bool{"q": true, "p": false} {
		found := false
		for _, body := range stored(t, e, "AuditEvent?_count=1000&entity=Patient/"+patient, reader) {
			found = found || strings.Contains(body, `"action":"R"`) && strings.Contains(body, `"code":"operation"`)
		}
		if found != want {
			t.Errorf("the export is in the records of %s: %v", patient, found)
		}
	}
}

// Bodies with line breaks are one line each.
func TestLinesWithinResources(t *testing.T) {
	e := newEnv(t, 0)
	put(t, e, "{\"resourceType\":\"Patient\",\n\t\"id\":\"p\",\r\n\"active\" : true,\"multipleBirthInteger\":1}")
	m := exported(t, e, "GET", "/$export", asyncenv.All, "")
	if line := m.lines["Patient/p"]; !strings.Contains(line, `"active":true`) {
		t.Errorf("%q", line)
	}
}
