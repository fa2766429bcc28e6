package console

import (
	"cmp"
	"context"
	"encoding/csv"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"fhirdest.example/server/audit"
	"fhirdest.example/server/servertest/chromium"
)

// ledger is an Accountant of n disclosures.
type ledger struct {
	n    int
	err  error
	name string // of all clients; hostile when empty
}

func (l ledger) Disclosures(_ context.Context, patient, _, _ string) ([]Disclosure, error) {
	out := []Disclosure{}
	for i := range l.n {
		out = append(out, Disclosure{
			Client:   fmt.Sprintf("%s %d", cmp.Or(l.name, hostile), i+1),
			ClientID: "=1+1",
			Person:   "@cmd",
			Purposes: []string{"TREAT"},
			What:     []string{"Patient"},
			Last:     time.Unix(1e9-int64(i), 0),
			First:    time.Unix(1e9-int64(i), 0),
			Count:    1,
		})
	}

	return out, l.err
}

func newLedgerEnv(l Accountant) *env {
	return &env{handler: New(Config{
		Decisions:  audit.New(audit.Config{Keep: 1}),
		Metrics:    http.NotFoundHandler(),
		Accountant: l,
		Open:       true,
	})}
}

// Many disclosures are shown a hundred at a time, with links to those before and
// after; texts of clients become no markup.
func TestDisclosuresInPages(t *testing.T) {
	b := newLedgerEnv(ledger{n: 250})
	for _, row := range []struct {
		page, rows string
		links      []string
	}{
		{"", "1 to 100 of 250", []string{"page=2"}},
		{"2", "101 to 200 of 250", []string{"page=1", "page=3"}},
		{"3", "201 to 250 of 250", []string{"page=2"}},
		{"4", "1 to 100 of 250", []string{"page=2"}},
		{"-1", "1 to 100 of 250", []string{"page=2"}},
	} {
		text := body(t, b.do("GET", "/disclosures?patient=p1&page="+row.page, "Accept", "text/html"))
		if !strings.Contains(text, row.rows) || strings.Count(text, "page=") != len(row.links) ||
			strings.Contains(text, "<script>") {
			t.Errorf("page %q: %s", row.page, text)
		}

		for _, link := range row.links {
			if !strings.Contains(text, link+"&amp;patient=p1") {
				t.Errorf("page %q has no %s", row.page, link)
			}
		}
	}
}

// A long name without a space does not push the rest of its row off the page.
func TestLongNamesFitThePage(t *testing.T) {
	site := httptest.NewServer(newLedgerEnv(ledger{
		n:    1,
		name: strings.Repeat("W", 200),
	}).handler)
	defer site.Close()

	b := chromium.Start(t, map[string]string{"127.0.0.1": site.Listener.Addr().String()})
	for _, width := range []int64{1280, 390} {
		b.Look(width, 800, "light")
		b.Open(site.URL + "/disclosures?patient=p1")
		if text := b.Text(); !strings.Contains(text, "WWW") || !strings.Contains(text, "TREAT") {
			t.Fatal(text)
		}
		wide := chromium.Get(b, "measure",
			chromedp.Evaluate[int64](`document.documentElement.scrollWidth`))
		if wide > width {
			t.Errorf("the page is %d px wide on %d px", wide, width)
		}
	}
}

// All rows are in the CSV, and no cell is a formula.
func TestDisclosuresAsCSV(t *testing.T) {
	res := newLedgerEnv(ledger{n: 250}).do("GET", "/disclosures?patient=p1&format=csv")
	rows, err := csv.NewReader(res.Body).ReadAll()
	if err != nil || len(rows) != 251 || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/csv") {
		t.Fatalf("%d rows, %v, %v", len(rows), err, res.Header)
	}
	if rows[1][4] != "'=1+1" || rows[1][7] != "'@cmd" || rows[250][3] != hostile+" 250" {
		t.Errorf("%q", rows[1])
	}
}

// A question that cannot be answered is shown with the form; a store that fails is no
// one's mistake.
func TestDisclosuresThatCannotBeHad(t *testing.T) {
	bad := newLedgerEnv(ledger{err: &BadQuestion{Text: "Write a day as 2026-01-31."}})
	res := bad.do("GET", "/disclosures?patient=p1&start=x", "Accept", "text/html")
	if text := body(t, res); res.StatusCode != 400 || !strings.Contains(text, `role="alert"`) ||
		!strings.Contains(text, "2026-01-31") || strings.Contains(text, "Nothing was disclosed") {
		t.Errorf("%d %s", res.StatusCode, text)
	}
	if got := newLedgerEnv(ledger{err: context.Canceled}).do("GET", "/disclosures?patient=p1").StatusCode; got != 503 {
		t.Errorf("a store that fails: %d", got)
	}

	if got := newLedgerEnv(nil).do("GET", "/disclosures?patient=p1").StatusCode; got != 404 {
		t.Errorf("without a FHIR service: %d", got)
	}
}
