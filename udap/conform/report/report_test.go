package report_test

import (
	"bytes"
	"encoding/xml"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/conform/report"
)

var made = time.Date(2026, 11, 30, 14, 0, 0, 0, time.UTC)

// hostile is in every member that a client controls: script, quotes, a character
// that XML cannot have, and text that is no UTF-8.
const hostile = "<script>alert(1)</script>\"' onload=x &amp; ]]> \x01 \xff"

func about() report.About {
	return report.About{
		Kind:     report.Client,
		Subject:  "Acme app",
		Base:     "https://localhost/acme/lab/x/fhir",
		Profile:  "ssraa-2",
		Mode:     "strict",
		Started:  made.Add(-time.Hour),
		Ended:    made.Add(-time.Minute),
		Requests: 7,
	}
}

func outcome(row string, v conform.Verdict, text string) conform.Outcome {
	return conform.Outcome{
		Row:     row,
		Level:   "SHALL",
		Title:   "title of " + row,
		Verdict: v,
		Text:    text,
		Remedy:  "remedy of " + row,
	}
}

func found() report.Found {
	return report.Found{
		Rows: []conform.Outcome{
			outcome("S1-020", conform.Shown, "in request 3"),
			outcome("S1-010", conform.Violated, "aud is the base URL"),
			outcome("S1-030", conform.NotExercised, "no authorization was asked for"),
			outcome("S1-040", conform.Warned, "no typ"),
		},
	}
}

func mustReport(t *testing.T, f report.Found, earlier *report.Report) *report.Report {
	t.Helper()
	r, err := report.New(about(), f, earlier, made)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// What Parse reads is what JSON wrote; a changed text and an unknown version are
// refused.
func TestJSONRoundTrip(t *testing.T) {
	f := found()
	f.Rows[0].Text = strings.ToValidUTF8(hostile, "?")
	f.Faults = []report.Fault{{
		Name:    "metadata.expired",
		Outcome: report.Noticed,
	}}
	r := mustReport(t, f, mustReport(t, report.Found{}, nil))

	text, err := r.JSON()
	if err != nil {
		t.Fatal(err)
	}
	back, err := report.Parse(text)
	if err != nil {
		t.Fatal(err)
	}

	again, err := back.JSON()
	if err != nil || !bytes.Equal(again, text) {
		t.Errorf("read and written again it is another text: %v\n%s", err, again)
	}

	for name, row := range map[string]struct{ from, to, want string }{
		"a changed verdict": {`"verdict": "violated"`, `"verdict": "shown"`, "was changed"},
		"a later version":   {`"version": 1`, `"version": 2`, "version 2"},
		"not JSON":          {"{", "[", "not a report"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := strings.Replace(string(text), row.from, row.to, 1)
			if _, err := report.Parse([]byte(changed)); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("error %v, want one with %q", err, row.want)
			}
		})
	}
}

// The summary counts each row once, and the worst verdict decides the result.
func TestSummary(t *testing.T) {
	r := mustReport(t, found(), nil)
	want := report.Summary{
		Shown:        1,
		Violated:     1,
		Warned:       1,
		NotExercised: 1,
	}
	if r.Summary != want {
		t.Errorf("summary %+v", r.Summary)
	}

	for name, row := range map[string]struct {
		found        report.Found
		fails, warns bool
		badge        string
	}{
		"violated": {found(), true, true, "✕ 1 violated"},
		"warned": {report.Found{Rows: []conform.Outcome{outcome("S1-001", conform.Warned, "")}}, false, true,
			"! 0 shown, 1 warned"},
		"shown":   {report.Found{Rows: []conform.Outcome{outcome("S1-001", conform.Shown, "")}}, false, false, "✓ 1 shown"},
		"nothing": {report.Found{}, false, false, "– nothing exercised"},
		"ignored": {report.Found{Faults: []report.Fault{{Outcome: report.Ignored}}}, true, true, "✕ 1 fault ignored"},
		"noticed": {report.Found{Faults: []report.Fault{{Outcome: report.Noticed}}}, false, false, "– nothing exercised"},
	} {
		t.Run(name, func(t *testing.T) {
			r := mustReport(t, row.found, nil)
			if r.Fails(conform.Violated) != row.fails || r.Fails(conform.Warned) != row.warns {
				t.Errorf("fails %v, on warnings %v", r.Fails(conform.Violated), r.Fails(conform.Warned))
			}

			badge, err := r.Badge()
			if err != nil || !strings.Contains(string(badge), row.badge+"</text>") {
				t.Errorf("badge %v\n%s", err, badge)
			}
		})
	}
}

// A difference names rows that became better or worse, worse ones first, and rows
// that one of the runs did not have.
func TestDifference(t *testing.T) {
	before := found()
	before.Rows = append(before.Rows,
		outcome("S1-080", conform.Shown, ""),
		outcome("S1-090", conform.Violated, ""),
		outcome("S1-091", conform.Warned, ""),
	)
	earlier := mustReport(t, before, nil)
	now := mustReport(t, report.Found{Rows: []conform.Outcome{
		outcome("S1-010", conform.Shown, ""),
		outcome("S1-020", conform.Violated, ""),
		outcome("S1-040", conform.Warned, ""),
		outcome("S1-050", conform.NotExercised, ""),
		outcome("S1-060", conform.Shown, ""),
		outcome("S1-060", conform.Violated, ""),
		outcome("S1-070", conform.NotExercised, ""),
		outcome("S1-070", conform.Shown, ""),
		outcome("S1-090", conform.NotExercised, ""),
	}}, earlier)

	var got []string
	for _, c := range now.Difference.Changes {
		got = append(got, c.Row+" "+string(c.Before)+" > "+string(c.Now))
	}
	want := []string{
		"S1-020 shown > violated",
		"S1-060 not exercised > violated",
		"S1-080 shown > not exercised",
		"S1-090 violated > not exercised",
		"S1-091 warned > not exercised",
		"S1-010 violated > shown",
		"S1-070 not exercised > shown",
	}
	if !slices.Equal(got, want) || now.Difference.Digest != earlier.Digest {
		t.Errorf("difference %q, want %q", got, want)
	}

	if now.Difference.Better() != 2 || now.Difference.Worse() != 3 {
		t.Errorf("%d better, %d worse", now.Difference.Better(), now.Difference.Worse())
	}

	same := mustReport(t, before, earlier)
	if len(same.Difference.Changes) != 0 {
		t.Errorf("the same rows differ: %v", same.Difference.Changes)
	}
}

// The page has every row, and nothing that a client wrote becomes an element or an
// attribute of it. Each form of the report holds hostile text.
func TestHostileTextIsText(t *testing.T) {
	f := found()
	for i := range f.Rows {
		o := &f.Rows[i]
		o.Text, o.Expected, o.Found, o.Title, o.Remedy = hostile, hostile, hostile, hostile, hostile
	}
	f.Notes = []string{hostile}
	f.Faults = []report.Fault{{
		Name:    "x",
		Title:   hostile,
		Outcome: report.Ignored,
		Text:    hostile,
	}}
	a := about()
	a.Subject = hostile
	r, err := report.New(a, f, mustReport(t, report.Found{}, nil), made)
	if err != nil {
		t.Fatal(err)
	}

	text, _, err := r.Render("report.html")
	if err != nil {
		t.Fatal(err)
	}
	z := html.NewTokenizer(bytes.NewReader(text))
	for z.Next() != html.ErrorToken {
		token := z.Token()
		if token.Type == html.StartTagToken && token.Data == "script" {
			t.Fatalf("the page has a script: %s", token)
		}
		for _, a := range token.Attr {
			if strings.HasPrefix(a.Key, "on") {
				t.Errorf("the page has a handler: %s", token)
			}
		}
	}
	for _, o := range f.Rows {
		if !strings.Contains(string(text), `id="row-`+o.Row+`"`) {
			t.Errorf("the page has no row %s", o.Row)
		}
	}

	for _, name := range []string{"a.xml", "a.svg"} {
		text, _, err := r.Render(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := xml.Unmarshal(text, new(struct{})); err != nil {
			t.Errorf("%s is no XML: %v\n%s", name, err, text)
		}
	}
	if text, _, err := r.Render("a.json"); err != nil {
		t.Error(err)
	} else if _, err := report.Parse(text); err != nil {
		t.Errorf("JSON: %v", err)
	}
}

// A name whose end asks for no form is refused with the ends that there are.
func TestUnknownForm(t *testing.T) {
	r := mustReport(t, found(), nil)
	if _, _, err := r.Render("report.pdf"); err == nil || !strings.Contains(err.Error(), ".html") {
		t.Errorf("error %v", err)
	}
	if report.Known("report.pdf") || !report.Known("report.json") {
		t.Error("Known and Render differ")
	}
}
