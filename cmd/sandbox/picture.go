package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"fhirdest.example/gateway/evidence"
)

// picture is a sequence diagram: a line of life for each hop, and a row for each message.
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
	Label   string // method, path and purpose
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
	pictureLeft  = 480
	pictureStep  = 170
	pictureRight = 190
	pictureTop   = 50
	pictureRowH  = 18
)

// longestPath bounds a path in a label, in characters.
const longestPath = 40

// drawn is one exchange: its messages, the request first.
type drawn struct {
	start    time.Time // of the first message
	findings []evidence.Finding
}

// picture draws the exchanges of the comparison, each under the claim during which it
// began.
func (d *demo) picture(results []result) picture {
	p := picture{}
	if d.compared == nil {
		return p
	}

	for i, h := range d.compared.summary.Hops {
		p.Hops = append(p.Hops, pictureHop{h, pictureLeft + i*pictureStep})
	}

	exchanges := exchangesOf(d.compared.findings)
	y := pictureTop
	for i, r := range results {
		y += pictureRowH + 6
		p.Rows = append(p.Rows, pictureRow{
			Y:       y,
			Heading: r.name,
		})

		for len(exchanges) > 0 && (i == len(results)-1 ||
			exchanges[0].start.Before(results[i+1].start)) {
			for _, f := range exchanges[0].findings {
				y += pictureRowH
				p.Rows = append(p.Rows, p.row(f, d.targetOf(f), y))
			}
			exchanges = exchanges[1:]
		}
	}

	p.Width, p.Height = pictureLeft+(len(p.Hops)-1)*pictureStep+pictureRight, y+30
	return p
}

// exchangesOf puts the messages of each exchange together, by connection and number at the
// hop nearest to the originator, in the order of time.
func exchangesOf(findings []evidence.Finding) []*drawn {
	var all []*drawn
	known := map[evidence.Place]*drawn{}
	for _, f := range findings {
		at := f.Places[0]
		x := known[at]
		if x == nil {
			x = &drawn{start: f.Time}
			known[at] = x
			all = append(all, x)
		}

		if f.Dir == "request" {
			x.start = f.Time // a request's time is the originator's
		}
		x.findings = append(x.findings, f)
	}

	for _, x := range all {
		slices.SortStableFunc(x.findings, func(a, b evidence.Finding) int {
			return cmp.Or(cmp.Compare(a.Dir, b.Dir), a.Time.Compare(b.Time)) // request before response
		})
	}

	slices.SortStableFunc(all, func(a, b *drawn) int {
		return a.start.Compare(b.start)
	})
	return all
}

// targetOf is what the originator asked for in the exchange of a message, by its own
// record: the evidence has no target.
func (d *demo) targetOf(f evidence.Finding) asked {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked[place{f.Places[0].Conn, f.Places[0].Seq}]
}

func (p *picture) row(f evidence.Finding, a asked, y int) pictureRow {
	label := "not asked for by the originator"
	if a.target != "" {
		label = fmt.Sprintf("%s %s, %s", a.method, shortened(a.target), a.purpose())
	}
	if f.Status > 0 {
		label = fmt.Sprintf("%d to %s", f.Status, label)
	}

	return pictureRow{
		Y:      y,
		Label:  label,
		Digest: f.SHA256[:min(12, len(f.SHA256))],
		Title: strings.TrimSpace(fmt.Sprintf("%s, %d bytes, sha-256 %s: %s %s", a.target, f.Bytes, f.SHA256,
			f.Verdict,
			f.Text)),
		Bad:    f.Verdict == evidence.Differs,
		Arrows: p.arrows(f, y),
	}
}

// shortened is a path without the middle that is too much of it.
func shortened(path string) string {
	if len(path) <= longestPath {
		return path
	}
	return path[:longestPath/2] + "…" + path[len(path)-longestPath/2:]
}

// arrows draws a message from hop to hop: red where it differs, on that wire alone.
func (p *picture) arrows(f evidence.Finding, y int) []arrow {
	has := map[int]bool{}
	for _, at := range f.Places {
		has[at.Index] = true
	}

	var out []arrow
	if last := len(p.Hops) - 1; f.Verdict == evidence.Straight {
		out = append(out, arrow{p.Hops[0].X, p.Hops[last].X, y, "straight"})
	} else {
		for i := 1; i <= last; i++ {
			switch {
			case f.Wire == i:
				out = append(out, arrow{p.Hops[i-1].X, p.Hops[i].X, y, "differs"})
			case has[i-1] && has[i]:
				out = append(out, arrow{p.Hops[i-1].X, p.Hops[i].X, y, "identical"})
			}
		}
	}

	if f.Dir == "response" {
		for i := range out {
			out[i].X1, out[i].X2 = out[i].X2, out[i].X1
		}
	}

	return out
}
