package report

import (
	"bytes"
	_ "embed"
	"html/template"
	"time"

	"fhirdest.example/udap/conform"
)

//go:embed report.html
var pageText string

//go:embed report.css
var pageStyle string

var page = template.Must(template.New("report").Funcs(template.FuncMap{
	"sign":  sign,
	"class": class,
	"at": func(t time.Time) string {
		return t.Format("2006-01-02 15:04:05 MST")
	},
	"short": func(digest string) string {
		return digest[:min(16, len(digest))]
	},
}).Parse(pageText))

// HTML returns the report as one page that needs nothing from elsewhere.
func (r *Report) HTML() ([]byte, error) {
	sign, words, _ := r.result()
	data := struct {
		*Report
		Style       template.CSS
		Title       string
		Sign, Words string
		Parts       []part
	}{
		Report: r,
		Style:  template.CSS(pageStyle),
		Title:  r.title(),
		Sign:   sign,
		Words:  words,
		Parts:  r.parts(),
	}

	var b bytes.Buffer
	err := page.Execute(&b, data)
	return b.Bytes(), err
}

func (r *Report) title() string {
	if r.Kind == Destination {
		return "UDAP destination " + r.Subject
	}
	return "UDAP client " + r.Subject
}

// sign returns the mark beside a verdict's word.
func sign(v any) string {
	switch v {
	case conform.Shown, Noticed:
		return "✓"
	case conform.Violated, Ignored:
		return "✗"
	case conform.Warned:
		return "!"
	}
	return "–"
}

// class returns the style class of a verdict.
func class(v any) string {
	switch v {
	case conform.Shown, Noticed:
		return "good"
	case conform.Violated, Ignored:
		return "bad"
	case conform.Warned:
		return "warn"
	}
	return "none"
}

// part is a group of rows on the page.
type part struct {
	ID      string
	Heading string
	Rows    []conform.Outcome
	Open    bool
}

// parts returns the rows by verdict, in the order in which a reader wants them.
func (r *Report) parts() []part {
	all := []part{
		{"violated", "Violated", r.With(conform.Violated), true},
		{"warned", "Warned", r.With(conform.Warned), true},
		{"shown", "Shown", r.With(conform.Shown), false},
		{"not-exercised", "Not exercised", r.With(conform.NotExercised), false},
	}

	var out []part
	for _, p := range all {
		if len(p.Rows) > 0 {
			out = append(out, p)
		}
	}

	return out
}
