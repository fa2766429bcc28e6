package report_test

import (
	"encoding/xml"
	"slices"
	"strings"
	"testing"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/conform/report"
)

// junit is what programs that know JUnit's XML read of it.
type junit struct {
	Tests    int `xml:"tests,attr"`
	Failures int `xml:"failures,attr"`
	Skipped  int `xml:"skipped,attr"`
	Suites   []struct {
		Name  string `xml:"name,attr"`
		Cases []struct {
			Name    string    `xml:"name,attr"`
			Failure *string   `xml:"failure"`
			Skipped *struct{} `xml:"skipped"`
		} `xml:"testcase"`
		Out string `xml:"system-out"`
	} `xml:"testsuite"`
}

func readJUnit(t *testing.T, f report.Found) (read junit) {
	t.Helper()
	text, _, err := mustReport(t, f, nil).Render("report.xml")
	if err == nil {
		err = xml.Unmarshal(text, &read)
	}
	if err != nil {
		t.Fatal(err)
	}
	return read
}

// In JUnit's XML what is violated or ignored has failed, what was not exercised or not
// seen is skipped, and warnings and notes are what the suite has written.
func TestJUnit(t *testing.T) {
	f := found()
	f.Rows[1].Section = "section of the guide"
	f.Notes = []string{"a note"}
	if read := readJUnit(t, f); len(read.Suites) != 1 {
		t.Errorf("%d suites without faults", len(read.Suites))
	}

	for _, outcome := range []string{report.Noticed, report.Ignored, report.NotSeen} {
		f.Faults = append(f.Faults, report.Fault{
			Name:    "fault",
			Title:   outcome,
			Outcome: outcome,
			Correct: "refuses it",
		})
	}
	read := readJUnit(t, f)
	if read.Tests != 7 || read.Failures != 2 || read.Skipped != 2 {
		t.Errorf("%d tests, %d failures, %d skipped", read.Tests, read.Failures, read.Skipped)
	}

	var failed, skipped []string
	for _, s := range read.Suites {
		for _, c := range s.Cases {
			if c.Failure != nil {
				failed = append(failed, c.Name+": "+*c.Failure)
			}
			if c.Skipped != nil {
				skipped = append(skipped, c.Name)
			}
		}
	}

	wrong := "S1-010 title of S1-010: aud is the base URL\nremedy: remedy of S1-010\nrule: section of the guide"
	if want := []string{wrong, "fault ignored: refuses it"}; !slices.Equal(failed, want) {
		t.Errorf("failed %q, want %q", failed, want)
	}
	if want := []string{"S1-030 title of S1-030", "fault not seen"}; !slices.Equal(skipped, want) {
		t.Errorf("skipped %q, want %q", skipped, want)
	}
	for _, part := range []string{"warned: S1-040 title of S1-040: no typ", "a note"} {
		if !strings.Contains(read.Suites[0].Out, part) {
			t.Errorf("%q is not in %q", part, read.Suites[0].Out)
		}
	}
	if strings.Contains(read.Suites[0].Out, string(conform.Violated)) {
		t.Errorf("written is %q", read.Suites[0].Out)
	}
}
