package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"strings"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/udap/trace"
)

//go:embed report.html
var reportText string

var reportTemplate = template.Must(template.New("report").Parse(reportText))

// report is the demonstration as one page that needs nothing from elsewhere.
type report struct {
	Made    string
	Base    string
	Summary string
	Claims  []reportClaim
	Picture picture
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

// tally counts outcomes in words.
func tally(results []result) string {
	n := map[outcome]int{}
	for _, r := range results {
		n[r.outcome]++
	}

	var parts []string

	for _, o := range []outcome{held, failed, notShown} {
		if n[o] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[o], strings.ToLower(string(o))))
		}
	}

	return fmt.Sprintf("%d claims: %s", len(results), strings.Join(parts, ", "))
}
