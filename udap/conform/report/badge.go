package report

import (
	"bytes"
	"fmt"
	"html/template"

	"fhirdest.example/udap/look"
)

// badge is the picture of a report in one line. Its colours are not the only sign:
// each state has a mark and a word.
var badge = template.Must(template.New("badge").Parse(
	`<svg xmlns="http://www.w3.org/2000/svg" width="{{.Width}}" height="24" viewBox="0 0 {{.Width}} 24" ` +
		`role="img" aria-label="{{.Label}}: {{.Words}}">
<title>{{.Label}}: {{.Words}}</title>
<rect width="{{.Width}}" height="24" rx="4" fill="#24292f"/>
<path d="M{{.Split}} 0h{{.Rest}}a4 4 0 0 1 4 4v16a4 4 0 0 1-4 4h-{{.Rest}}z" fill="{{.Colour}}"/>
<g fill="#ffffff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="12" aria-hidden="true">
<text x="10" y="16" textLength="{{.LabelText}}">{{.Label}}</text>
<text x="{{.TextAt}}" y="16" textLength="{{.WordsText}}">{{.Sign}} {{.Words}}</text>
</g>
</svg>
`))

type badgeData struct {
	Label, Words, Sign, Colour string
	Width, Split, Rest, TextAt int
	LabelText, WordsText       int
}

// Badge returns a small SVG picture that has the report's result as a sign and
// words, and the same as its title.
func (r *Report) Badge() ([]byte, error) {
	res := r.result()
	d := badgeData{
		Label:  "UDAP " + string(r.Kind),
		Words:  res.words,
		Sign:   res.sign,
		Colour: res.colour,
	}

	const perCharacter, margin = 7, 10
	d.LabelText = perCharacter * len(d.Label)
	d.WordsText = perCharacter * (len(d.Words) + 2)
	d.Split = d.LabelText + 2*margin
	d.TextAt = d.Split + margin
	d.Width = d.TextAt + d.WordsText + margin
	d.Rest = d.Width - d.Split - 4

	var b bytes.Buffer
	err := badge.Execute(&b, d)
	return b.Bytes(), err
}

// result is what a report comes to.
type result struct {
	tone   look.Tone
	sign   string
	words  string
	colour string // has enough contrast with white
}

func (r *Report) result() result {
	s := r.Summary
	switch {
	case s.Violated > 0:
		return result{look.Bad, "✕", fmt.Sprintf("%d violated", s.Violated), "#a40e26"}
	case s.Ignored > 0:
		return result{look.Bad, "✕", count(s.Ignored, "fault") + " ignored", "#a40e26"}
	case s.Warned > 0:
		return result{look.Warn, "!", fmt.Sprintf("%d shown, %d warned", s.Shown, s.Warned), "#7d4e00"}
	case s.Shown > 0:
		return result{look.Good, "✓", fmt.Sprintf("%d shown", s.Shown), "#116329"}
	}
	return result{look.None, "–", "nothing exercised", "#57606a"}
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
