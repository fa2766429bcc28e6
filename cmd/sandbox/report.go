package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/gateway/evidence"
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

// picture is a sequence diagram: one line of life for each hop, one row for
// each message.
type picture struct {
	Width, Height int
	Hops          []pictureHop
	Rows          []pictureRow
}

type pictureHop struct {
	Name string
	X    int
}

type pictureRow struct {
	Y       int
	Heading string // of a claim; then there are no arrows
	Arrows  []arrow
	Label   string
	Digest  string // short
	Title   string // the whole digest and what was found
	Bad     bool
}

type arrow struct {
	X1, X2, Y int
	Kind      string // identical, straight, differs
}

// Measures of the picture, in pixels.
const (
	pictureLeft = 190
	pictureStep = 170
	pictureTop  = 50
	pictureRowH = 18
)

// picture draws the findings of the comparison under the claims during which
// the messages went by.
func (d *demo) picture(results []result) picture {
	p := picture{}
	if d.compared == nil {
		return p
	}

	for i, h := range d.compared.summary.Hops {
		p.Hops = append(p.Hops, pictureHop{h, pictureLeft + i*pictureStep})
	}
	findings := slices.Clone(d.compared.findings)
	slices.SortStableFunc(findings, func(a, b evidence.Finding) int { return a.Time.Compare(b.Time) })
	y := pictureTop

	for i, r := range results {
		y += pictureRowH + 6
		p.Rows = append(p.Rows, pictureRow{Y: y, Heading: r.name})
		for len(findings) > 0 && (i == len(results)-1 || findings[0].Time.Before(results[i+1].start)) {
			y += pictureRowH
			p.Rows = append(p.Rows, p.row(findings[0], y))
			findings = findings[1:]
		}
	}

	p.Width, p.Height = pictureLeft+(len(p.Hops)-1)*pictureStep+190, y+30
	return p
}

func (p *picture) row(f evidence.Finding, y int) pictureRow {
	label := f.Method
	if f.Status > 0 {
		label = fmt.Sprintf("%d", f.Status)
	}

	return pictureRow{
		Y:      y,
		Label:  fmt.Sprintf("%s %s, %d bytes", label, f.Dir, f.Bytes),
		Digest: f.SHA256[:min(12, len(f.SHA256))],
		Title:  strings.TrimSpace(fmt.Sprintf("sha-256 %s: %s %s", f.SHA256, f.Verdict, f.Text)),
		Bad:    f.Verdict == evidence.Differs,
		Arrows: p.arrows(f, y),
	}
}

func (p *picture) arrows(f evidence.Finding, y int) []arrow {
	var out []arrow
	last := len(p.Hops) - 1
	if f.Verdict == evidence.Straight {
		out = append(out, arrow{p.Hops[0].X, p.Hops[last].X, y, "straight"})
	} else {
		for i := range last {
			kind := "identical"
			if f.Verdict == evidence.Differs && (p.Hops[i].Name == f.Hop || p.Hops[i+1].Name == f.Hop) {
				kind = "differs"
			}
			out = append(out, arrow{p.Hops[i].X, p.Hops[i+1].X, y, kind})
		}
	}

	if f.Dir == "response" {
		for i := range out {
			out[i].X1, out[i].X2 = out[i].X2, out[i].X1
		}
	}

	return out
}
