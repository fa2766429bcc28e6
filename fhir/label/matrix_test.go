package label_test

import (
	"os"
	"strings"
	"testing"

	"fhirdest.example/fhir/access"
	"fhirdest.example/fhir/label"
	"fhirdest.example/fhir/scope"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/tree"
)

// source parses; nothing else is asked of it.
type source struct{ access.Source }

func (source) Parse(v access.Resource) (*tree.Value, error) { return tree.Parse(v.Body) }

// row is a line of testdata/matrix.txt.
type row struct {
	labels, clearance, purpose string
	emergency                  bool
	want                       string
}

func matrix(t *testing.T) (rows []row) {
	t.Helper()
	text, err := os.ReadFile("testdata/matrix.txt")
	if err != nil {
		t.Fatal(err)
	}

	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] == "#" || strings.HasPrefix(line, "#") {
			continue
		}

		if len(f) != 5 {
			t.Fatalf("line %q", line)
		}
		rows = append(rows, row{
			labels:    f[0],
			clearance: f[1],
			purpose:   f[2],
			emergency: f[3] == "yes",
			want:      f[4],
		})
	}

	return rows
}

// observation is one with labels.
func observation(id, labels string) string {
	var codings []string
	for _, code := range strings.Split(labels, ",") {
		switch {
		case code == "-":
			continue
		case len(code) == 1:
			codings = append(codings, `{"system":"http://terminology.hl7.org/CodeSystem/v3-Confidentiality","code":"`+
				code+`"}`)
		case code == "HTEST":
			codings = append(codings, `{"system":"http://terminology.hl7.org/CodeSystem/v3-ActReason","code":"HTEST"}`)
		default:
			codings = append(codings, `{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"`+
				code+`"}`)
		}
	}

	meta := ""
	if len(codings) > 0 {
		meta = `"meta":{"security":[` + strings.Join(codings, ",") + `]},`
	}
	return `{"resourceType":"Observation","id":"` + id + `",` + meta +
		`"status":"final","code":{"text":"x"},"subject":{"reference":"Patient/p"}}`
}

func (r row) clearances() []label.Clearance {
	if r.clearance == "-" {
		return nil
	}
	level, codes, _ := strings.Cut(r.clearance, ",")
	c := label.Clearance{Level: level}
	if codes != "" {
		c.Sensitivities = strings.Split(codes, ",")
	}
	return []label.Clearance{c}
}

func (r row) purposes() []string {
	switch r.purpose {
	case "-":
		return nil
	case "T-TREAT":
		return []string{"urn:oid:2.16.840.1.113883.3.7204.1.5.2.1#T-TREAT"}
	}
	return []string{"urn:oid:2.16.840.1.113883.5.8#" + r.purpose}
}

// Every label with every clearance, purpose of use and statement of an emergency. What
// the index decides is what reading the resource decides.
//
// Covers: FS-701, FS-703, FS-704, FS-308, FS-309
func TestMatrix(t *testing.T) {
	rows := matrix(t)
	if len(rows) < 50 {
		t.Fatalf("%d rows", len(rows))
	}

	for _, r := range rows {
		t.Run(r.labels+" "+r.clearance+" "+r.purpose, func(t *testing.T) {
			l, err := label.New(label.Policy{Clearances: r.clearances()})
			if err != nil {
				t.Fatal(err)
			}

			body := []byte(observation("o", r.labels))
			root, err := tree.Parse(body)
			if err != nil {
				t.Fatal(err)
			}
			x := search.Extractor{Marks: l.Marks}
			terms, err := x.Extract("Observation", root, search.Stamp{ID: "o"})
			if err != nil {
				t.Fatal(err)
			}

			h := l.Holder(&access.Grant{Purposes: r.purposes()}, r.emergency)
			current := access.Resource{
				Type:  "Observation",
				ID:    "o",
				Terms: terms,
			}

			former := access.Resource{
				Type: "Observation",
				ID:   "o",
				Body: body,
			}
			for _, v := range []access.Resource{current, former} {
				if got := decided(t, h, v); got != r.want {
					t.Errorf("%s, want %s", got, r.want)
				}
			}

			clauses, exact := h.Clauses(scope.Read, "Observation")
			passes := search.Everything().And(clauses).Passes("o", terms)
			if passes != (r.want != "hidden") || !exact != (r.want == "permit") && r.clearance != "V" {
				t.Errorf("the index: passes %v, exact %v, want %s", passes, exact, r.want)
			}
		})
	}
}

func decided(t *testing.T, h *label.Holder, v access.Resource) string {
	t.Helper()
	d, err := h.Decide(t.Context(), source{}, scope.Read, v)
	switch {
	case err != nil:
		t.Fatal(err)
	case d.Reason != access.Visible:
		return "hidden"
	case d.NeedsPermit:
		return "permit"
	}

	return "read"
}

// An emergency opens reading alone, and as far as the policy allows.
//
// Covers: FS-308
func TestEmergencyOpensReadingAlone(t *testing.T) {
	for _, c := range []struct {
		glass, labels string
		p             scope.Permission
		want          string
	}{
		{"", "R", scope.Read, "read"},
		{"", "R", scope.Search, "read"},
		{"", "R", scope.Update, "hidden"},
		{"", "R", scope.Delete, "hidden"},
		{"none", "R", scope.Read, "hidden"},
		{"none", "PSY", scope.Read, "hidden"},
		{"V", "V,PSY", scope.Read, "read"},
		{"V", "V", scope.Update, "hidden"},
	} {
		t.Run(c.glass+" "+c.labels, func(t *testing.T) {
			l, err := label.New(label.Policy{BreakGlass: c.glass})
			if err != nil {
				t.Fatal(err)
			}

			h := l.Holder(&access.Grant{}, true)
			d, err := h.Decide(t.Context(), source{}, c.p, access.Resource{
				Type: "Observation",
				Body: []byte(observation("o", c.labels)),
			})
			got := "read"
			if d.Reason != access.Visible {
				got = "hidden"
			}

			if got != c.want || err != nil || d.NeedsPermit {
				t.Errorf("%v of %s: %s, %v", c.p, c.labels, got, err)
			}
		})
	}
}
