package report

import (
	"encoding/xml"
	"strings"
	"time"

	"fhirdest.example/udap/conform"
)

// The elements of JUnit's XML, as Jenkins, GitLab and GitHub's actions read them.
type suites struct {
	XMLName  xml.Name `xml:"testsuites"`
	Name     string   `xml:"name,attr"`
	Tests    int      `xml:"tests,attr"`
	Failures int      `xml:"failures,attr"`
	Errors   int      `xml:"errors,attr"`
	Skipped  int      `xml:"skipped,attr"`
	Suites   []suite  `xml:"testsuite"`
}

type suite struct {
	Name       string     `xml:"name,attr"`
	Hostname   string     `xml:"hostname,attr"`
	Timestamp  string     `xml:"timestamp,attr"` // ISO 8601 without a zone
	Tests      int        `xml:"tests,attr"`
	Failures   int        `xml:"failures,attr"`
	Errors     int        `xml:"errors,attr"`
	Skipped    int        `xml:"skipped,attr"`
	Time       string     `xml:"time,attr"` // seconds
	Properties properties `xml:"properties"`
	Cases      []testcase `xml:"testcase"`
	Out        string     `xml:"system-out"`
	Err        string     `xml:"system-err"`
}

type properties struct {
	Properties []property `xml:"property"`
}

type property struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type testcase struct {
	Class   string   `xml:"classname,attr"`
	Name    string   `xml:"name,attr"`
	Time    string   `xml:"time,attr"`
	Skipped *skipped `xml:"skipped"`
	Failure *failure `xml:"failure"`
}

type skipped struct {
	Message string `xml:"message,attr"`
}

type failure struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr"`
	Text    string `xml:",chardata"`
}

// JUnit returns the report as JUnit's XML: a suite for the rows and, where there
// were deliberate faults, one for those. A violated row and an ignored fault are
// failures; what was not exercised or not seen is skipped. Warnings have no word in
// this format: they are in the suite's system-out.
func (r *Report) JUnit() ([]byte, error) {
	all := suites{Name: r.title()}
	all.add(r.rowSuite())
	if len(r.Faults) > 0 {
		all.add(r.faultSuite())
	}

	text, err := xml.MarshalIndent(all, "", "  ")
	if err != nil {
		return nil, err
	}

	return append([]byte(xml.Header), append(text, '\n')...), nil
}

func (a *suites) add(s suite) {
	a.Tests += s.Tests
	a.Failures += s.Failures
	a.Skipped += s.Skipped
	a.Suites = append(a.Suites, s)
}

func (r *Report) newSuite(name string) suite {
	return suite{
		Name:      name,
		Hostname:  "localhost",
		Timestamp: r.Started.Format("2006-01-02T15:04:05"),
		Time:      "0",
		Properties: properties{Properties: []property{
			{"base", r.Base},
			{"profile", r.Profile},
			{"made", r.Made.Format(time.RFC3339)},
			{"digest", r.Digest},
		}},
	}
}

func (r *Report) rowSuite() suite {
	s := r.newSuite("requirements")
	var warnings []string

	for _, o := range r.Rows {
		c := testcase{
			Class: "udap." + string(r.Kind),
			Name:  strings.TrimSpace(o.Row + " " + o.Title),
			Time:  "0",
		}

		switch o.Verdict {
		case conform.Violated:
			c.Failure = &failure{
				Message: o.Text,
				Type:    "violated",
				Text:    details(o),
			}
		case conform.NotExercised:
			c.Skipped = &skipped{o.Text}
		case conform.Warned:
			warnings = append(warnings, "warned: "+c.Name+": "+details(o))
		}

		s.add(c)
	}

	s.Out = strings.Join(append(warnings, r.Notes...), "\n")
	return s
}

func (r *Report) faultSuite() suite {
	s := r.newSuite("deliberate faults")
	for _, f := range r.Faults {
		c := testcase{
			Class: "udap.fault",
			Name:  f.Name + " " + f.Title,
			Time:  "0",
		}

		switch f.Outcome {
		case Ignored:
			c.Failure = &failure{
				Message: f.Text,
				Type:    Ignored,
				Text:    f.Correct,
			}
		case NotSeen:
			c.Skipped = &skipped{f.Text}
		}

		s.add(c)
	}

	return s
}

func (s *suite) add(c testcase) {
	s.Tests++
	if c.Failure != nil {
		s.Failures++
	}
	if c.Skipped != nil {
		s.Skipped++
	}
	s.Cases = append(s.Cases, c)
}

// details is what was found about a row as lines of text.
func details(o conform.Outcome) string {
	lines := []string{o.Text}
	for _, part := range []struct{ name, value string }{
		{"expected", o.Expected},
		{"found", o.Found},
		{"remedy", o.Remedy},
		{"check", o.Check},
		{"rule", o.Section},
		{"see", o.Link},
	} {
		if part.value != "" {
			lines = append(lines, part.name+": "+part.value)
		}
	}
	return strings.Join(lines, "\n")
}
