package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"strings"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/udap/look"
	"fhirdest.example/udap/trace"
)

//go:embed report.html
var reportText string

var reportTemplate = template.Must(look.Template("report").Parse(reportText))

// report is the demonstration as one page that needs nothing from elsewhere.
type report struct {
	Made    string
	Base    string
	Summary string
	Counts  []count
	Claims  []reportClaim
	Picture picture
}

// Title is the title of the page's window.
func (r report) Title() string {
	return "Sandbox demonstration, " + r.Made
}

type reportClaim struct {
	ID, Text, Outcome, Detail, Repeat string
	Took                              string
	Traces                            []*trace.Trace
}

// writeReport writes the page in place by rename.
func (d *demo) writeReport(file string, results []result) error {
	r := report{
		Made:    d.now().UTC().Format(time.RFC3339),
		Base:    d.manifest.PublicBase,
		Summary: tally(results),
		Counts:  counts(results),
		Picture: d.picture(results),
	}

	from := 0
	for _, x := range results {
		r.Claims = append(r.Claims, reportClaim{
			ID:      x.name,
			Text:    x.text,
			Outcome: string(x.outcome),
			Detail:  x.detail,
			Repeat:  d.byHand(x.repeat),
			Took:    x.took.Round(time.Millisecond).String(),
			Traces:  d.traces[from:x.traces],
		})

		from = x.traces
	}

	var b bytes.Buffer
	if err := reportTemplate.Execute(&b, r); err != nil {
		return err
	}
	return certs.WriteFile(file, b.Bytes(), certs.ModePublic)
}

// count is how many claims have an outcome.
type count struct {
	Outcome outcome
	N       int
}

// counts counts outcomes, those without a claim left out.
func counts(results []result) []count {
	n := map[outcome]int{}
	for _, r := range results {
		n[r.outcome]++
	}

	var list []count
	for _, o := range []outcome{held, failed, notShown} {
		if n[o] > 0 {
			list = append(list, count{o, n[o]})
		}
	}
	return list
}

// tally counts outcomes in words.
func tally(results []result) string {
	var parts []string
	for _, c := range counts(results) {
		parts = append(parts, fmt.Sprintf("%d %s", c.N, strings.ToLower(string(c.Outcome))))
	}

	return fmt.Sprintf("%d claims: %s", len(results), strings.Join(parts, ", "))
}
