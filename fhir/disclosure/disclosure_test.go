package disclosure

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"fhirdest.example/fhir/table"
	"fhirdest.example/fhir/trail"
	"fhirdest.example/fhir/tree"
	"fhirdest.example/fhir/validate"
)

// reading is a record of a read at a time, after change has had its way.
func reading(seconds int64, change func(*trail.Record)) *trail.Record {
	rec := &trail.Record{
		Base:        "https://fhir.test/fhir",
		Client:      "client-1",
		Address:     "192.0.2.7",
		Purposes:    []string{"urn:oid:2.16.840.1.113883.5.8#TREAT"},
		At:          time.Unix(1e9+seconds, 0).UTC(),
		Interaction: "read",
		Outcome:     "0",
		Patients:    []string{"p1"},
		Touched:     []trail.Version{{Type: "Observation", ID: "o1", Version: 1}},
	}
	if change != nil {
		change(rec)
	}
	return rec
}

// Repeated disclosures to one party for one purpose are one; those to another party,
// for another person or for another purpose are others.
//
// Covers: FS-412
func TestDisclosuresAreGathered(t *testing.T) {
	var a Account
	for i, change := range []func(*trail.Record){
		nil,
		func(r *trail.Record) { r.Address = "192.0.2.8" },
		func(r *trail.Record) { r.Touched[0].Type = "Condition" },
		func(r *trail.Record) { r.Client = "client-2" },
		func(r *trail.Record) { r.Subject, r.User = "s1", "Practitioner/1" },
		func(r *trail.Record) { r.Purposes = []string{"HRESCH"} },
		func(r *trail.Record) {
			r.Interaction, r.Query, r.Touched = "search-type", "GET Observation?code=x", nil
		},
	} {
		a.Add(reading(int64(i), change))
	}

	var got []string
	for _, d := range a.All() {
		got = append(got, fmt.Sprint(d.Client, d.Subject, d.Purposes, d.Count, d.Types(), d.Addresses,
			d.First.Unix()-1e9, d.Last.Unix()-1e9))
	}
	want := []string{
		"client-1[urn:oid:2.16.840.1.113883.5.8#TREAT]4[Condition Observation][192.0.2.7 192.0.2.8]0 6",
		"client-1[HRESCH]1[Observation][192.0.2.7]5 5",
		"client-1s1[urn:oid:2.16.840.1.113883.5.8#TREAT]1[Observation][192.0.2.7]4 4",
		"client-2[urn:oid:2.16.840.1.113883.5.8#TREAT]1[Observation][192.0.2.7]3 3",
	}
	for i := range got {
		got[i] = strings.ReplaceAll(got[i], "] ", "]")
	}
	if len(got) != len(want) {
		t.Fatalf("%d disclosures: %q", len(got), got)
	}
	for i := range want {
		if strings.ReplaceAll(got[i], " ", "") != strings.ReplaceAll(want[i], " ", "") {
			t.Errorf("%q, want %q", got[i], want[i])
		}
	}
}

// What changes data, was refused, or is no interaction with FHIR discloses nothing.
func TestWhatDisclosesNothing(t *testing.T) {
	for name, change := range map[string]func(*trail.Record){
		"create":      func(r *trail.Record) { r.Interaction = "create" },
		"update":      func(r *trail.Record) { r.Interaction = "update" },
		"delete":      func(r *trail.Record) { r.Interaction = "delete" },
		"refused":     func(r *trail.Record) { r.Outcome = "4" },
		"failed":      func(r *trail.Record) { r.Outcome = "8" },
		"the server":  func(r *trail.Record) { r.Client = "" },
		"disclosures": func(r *trail.Record) { r.Interaction = "$disclosures" },
		"event":       func(r *trail.Record) { r.Event = &trail.Event{Action: "R"} },
	} {
		t.Run(name, func(t *testing.T) {
			var a Account
			a.Add(reading(0, change))
			if all := a.All(); len(all) != 0 {
				t.Errorf("%+v", all[0])
			}
		})
	}
}

// What a query is about is told by its path.
func TestTypesOfQueries(t *testing.T) {
	for query, want := range map[string]string{
		"GET Observation?patient=p1": "Observation",
		"POST Condition/_search?":    "Condition",
		"GET Patient/p1/Encounter?":  "Encounter",
		"GET Patient/p1/_history?":   "Patient",
		"GET ?_type=Patient":         "record",
		"":                           "record",
		"GET \x00?":                  "record",
	} {
		rec := reading(0, func(r *trail.Record) { r.Interaction, r.Query, r.Touched = "search-type", query, nil })
		if got := typesOf(rec); fmt.Sprint(got) != "["+want+"]" {
			t.Errorf("%q: %v", query, got)
		}
	}
	rec := reading(0, func(r *trail.Record) { r.Interaction, r.Query, r.Touched = "$export", "GET $export?", nil })
	if got := typesOf(rec); got[0] != "export" {
		t.Errorf("an export: %v", got)
	}
}

// The AuditEvent is valid R4, and has the source, the recipient, the person, the
// patient and the purpose.
//
// Covers: FS-412
func TestDisclosureAsAuditEvent(t *testing.T) {
	var a Account
	a.Add(reading(0, func(r *trail.Record) { r.Subject, r.User = "s1", "Practitioner/1" }))
	a.Add(reading(5, nil))
	v := validate.New(table.R4())
	for _, d := range a.All() {
		text, err := d.Event("https://fhir.test/fhir", "p1")
		if err != nil {
			t.Fatal(err)
		}
		root, err := tree.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if issues := v.Resource(root, validate.Options{}); !validate.OK(issues) {
			t.Errorf("%v in %s", issues, text)
		}
		for _, part := range []string{
			Profile, `"110106"`, `"disclose"`, `"110153"`, `"110152"`, `"client-1"`, `"192.0.2.7"`, `"Patient/p1"`,
			`"code":"TREAT"`, `"name":"Observation"`, `"valueString":"1"`,
		} {
			if !strings.Contains(string(text), part) {
				t.Errorf("no %s in %s", part, text)
			}
		}
		if got := strings.Contains(string(text), `"Practitioner/1"`); got != (d.Subject != "") {
			t.Errorf("the person: %s", text)
		}
	}
}
