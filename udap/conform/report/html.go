package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/look"
)

//go:embed report.html
var pageText string

var page = template.Must(look.Template("report").Funcs(template.FuncMap{
	"words": words,
}).Parse(pageText))

// maxWords bounds a text of the report on its page, in characters.
const maxWords = 2000

// words makes a text, of which a client may have chosen a part, safe to read.
func words(text any) string {
	return look.VisibleTo(fmt.Sprint(text), maxWords)
}

// HTML returns the report as one page that needs nothing from elsewhere.
func (r *Report) HTML() ([]byte, error) {
	res := r.result()
	data := struct {
		*Report
		Title  string
		Head   string
		Tone   look.Tone
		Result string
		Parts  []part
	}{
		Report: r,
		Title:  r.title(),
		Head:   r.title() + ": " + res.words,
		Tone:   res.tone,
		Result: res.words,
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
