package report_test

import (
	"strings"
	"testing"

	"fhirdest.example/server/servertest/chromium"
	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/conform/report"
)

// TestReportIsAccessible: a report is read by every person, and on paper nothing of it
// is folded away.
func TestReportIsAccessible(t *testing.T) {
	f := found()
	f.Rows[1].Text = strings.Repeat("https://client.example/very/long/", 12)
	f.Faults = []report.Fault{
		{Name: "metadata.expired", Title: "The metadata has expired", Outcome: report.Noticed},
		{Name: "token.subset", Title: "Fewer scopes", Outcome: report.Ignored, Text: "asked for more"},
	}
	f.Notes = []string{hostile, strings.Repeat("long", 200)}
	before := found()
	before.Rows[0].Verdict = conform.Violated
	page, err := mustReport(t, f, mustReport(t, before, nil)).HTML()
	if err != nil {
		t.Fatal(err)
	}

	b := chromium.Show(t, page)
	b.Inspect("conformance-report")
	b.ForPrint()
	text := b.Text()
	for _, want := range []string{"S1-010", "remedy of S1-010", "S1-030", "no authorization was asked for"} {
		if !strings.Contains(text, want) {
			t.Errorf("the report on paper lacks %q", want)
		}
	}
}
