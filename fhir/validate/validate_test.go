package validate

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"fhirdest.example/fhir/sample"
	"fhirdest.example/fhir/table"
	"fhirdest.example/fhir/tree"
)

func issuesOf(t testing.TB, v *Validator, body string) []Issue {
	t.Helper()
	root, err := tree.Parse([]byte(body))
	if err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return v.Resource(root, Options{})
}

// vectors reads a file of cases, one a line.
func vectors(t testing.TB, name string) []string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()

	var all []string
	for s := bufio.NewScanner(f); s.Scan(); {
		if line := s.Text(); line != "" && line[0] != '#' {
			all = append(all, line)
		}
	}

	if len(all) == 0 {
		t.Fatalf("%s holds no case", name)
	}
	return all
}

// Covers: ER-22 (input validation), case 256, case 258, case 259, case 263, FS-901, FS-904
func TestRefused(t *testing.T) {
	v := New(table.R4())
	for _, line := range vectors(t, "testdata/refused.txt") {
		f := strings.SplitN(line, " | ", 4)
		if len(f) != 4 {
			t.Fatalf("not a case: %s", line)
		}
		rule := strings.TrimPrefix(f[2], "-")
		found := false
		issues := issuesOf(t, v, f[3])
		for _, i := range issues {
			if i.Code == f[0] && i.Expression == strings.TrimSpace(f[1]) && i.Rule == rule && i.Severity == Error &&
				i.Text != "" {
				found = true
			}
		}

		if !found || OK(issues) {
			t.Errorf("%s\n found %v", line, issues)
		}
	}
}

func TestAccepted(t *testing.T) {
	v := New(table.R4())
	for _, body := range vectors(t, "testdata/accepted.txt") {
		if issues := issuesOf(t, v, body); len(issues) > 0 {
			t.Errorf("%s\n found %v", body, issues)
		}
	}
}

func TestConditionalReferences(t *testing.T) {
	const body = `{"resourceType":"Patient","managingOrganization":{"reference":"Organization?identifier=x"}}`
	root, err := tree.Parse([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	v := New(table.R4())
	if issues := v.Resource(root, Options{Conditional: true}); len(issues) > 0 {
		t.Error(issues)
	}

	if OK(v.Resource(root, Options{})) {
		t.Error("a search passes for a reference")
	}
}

func TestPopulationIsValid(t *testing.T) {
	v := New(table.R4())
	err := sample.History(2*sample.DefaultPatients, func(s sample.Step) error {
		if s.Delete() {
			return nil
		}
		if issues := issuesOf(t, v, string(s.JSON)); len(issues) > 0 {
			t.Errorf("%s/%s version %d: %v", s.Type, s.ID, s.Version, issues)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestIssuesAreBounded(t *testing.T) {
	body := `{"resourceType":"Patient","name":[` + strings.Repeat(`{},`, 1000) + `{}]}`
	if n := len(issuesOf(t, New(table.R4()), body)); n != maxIssues {
		t.Errorf("%d issues", n)
	}
}

// TestEveryTypeFits: the counters of one object hold the widest type, and
// each rule's type exists.
func TestEveryTypeFits(t *testing.T) {
	r4 := table.R4()
	for _, name := range r4.Resources() {
		if n := len(r4.Type(name).Elements); n > len(seen{}) {
			t.Errorf("%s has %d elements", name, n)
		}
	}

	for name := range rulesByType() {
		if r4.Type(name) == nil {
			t.Errorf("rules for %s, which is no type", name)
		}
	}
}

// FuzzResource: any well-formed body is validated without a fault of the validator.
//
// Covers: FS-908
func FuzzResource(f *testing.F) {
	for _, name := range []string{"testdata/refused.txt", "testdata/accepted.txt"} {
		for _, line := range vectors(f, name) {
			f.Add([]byte(line[strings.Index(line, "{"):]))
		}
	}

	v := New(table.R4())
	f.Fuzz(func(t *testing.T, body []byte) {
		root, err := tree.Parse(body)
		if err != nil {
			return
		}

		for _, i := range v.Resource(root, Options{}) {
			if i.Text == "" || i.Code == "" {
				t.Errorf("an issue without words: %+v", i)
			}
		}
	})
}

// BenchmarkResource5KB parses and validates a resource of 5 KB with narrative.
func BenchmarkResource5KB(b *testing.B) {
	var s bytes.Buffer
	s.WriteString(`{"resourceType":"Patient","id":"p1","meta":{"profile":["http://hl7.org/fhir/us/core/StructureDefinition/us-core-patient"]},` +
		`"text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>Anna Example</p><p>born 1970-01-01</p></div>"},"name":[`)

	for i := 0; s.Len() < 4700; i++ {
		if i > 0 {
			s.WriteByte(',')
		}
		fmt.Fprintf(&s,
			`{"use":"official","text":"Anna Beta Family%d","family":"Family%d","given":["Anna","Beta"],"period":{"start":"2020-01-01","end":"2021-01-01"}}`, i, i)
	}

	s.WriteString(`],"gender":"female","birthDate":"1970-01-01","managingOrganization":{"reference":"Organization/1","display":"An Organisation"},` +
		`"address":[{"use":"home","line":["1 Elm Street"],"city":"Fairhaven","state":"MA","postalCode":"02199","country":"US"}]}`)
	body, v := s.Bytes(), New(table.R4())

	// A test's heap is so small that the collector runs all the time; this
	// is in the place of what a server has.
	ballast := make([]byte, 64<<20)
	defer runtime.KeepAlive(ballast)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()

	for b.Loop() {
		root, err := tree.Parse(body)
		if err != nil {
			b.Fatal(err)
		}
		if issues := v.Resource(root, Options{}); len(issues) > 0 {
			b.Fatal(issues)
		}
	}
}
