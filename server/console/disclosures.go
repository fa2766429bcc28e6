package console

import (
	"context"
	"encoding/csv"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Accountant accounts for the disclosures of patients' data.
type Accountant interface {
	// Disclosures returns who got data of a patient, the latest first. start and end
	// are days or instants of FHIR, and may be empty. Its error is a *BadQuestion if
	// they are to blame.
	Disclosures(ctx context.Context, patient, start, end string) ([]Disclosure, error)
}

// BadQuestion is what is wrong with a question for disclosures.
type BadQuestion struct{ Text string }

func (b *BadQuestion) Error() string { return b.Text }

// Disclosure is what one party got of a patient's data for one purpose.
type Disclosure struct {
	Client    string    `json:"client"` // its name, or its client_id where it is gone
	ClientID  string    `json:"clientId"`
	URI       string    `json:"uri,omitzero"` // of the client
	Community string    `json:"community,omitzero"`
	Addresses []string  `json:"addresses,omitempty"`
	Person    string    `json:"person,omitzero"` // for whom the client asked
	Purposes  []string  `json:"purposes"`
	What      []string  `json:"what"` // types of resources
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`
	Count     int       `json:"count"`
}

// disclosuresPage is what the page shows.
type disclosuresPage struct {
	Patient, Start, End string
	Asked               bool
	Problem             string
	Total               int
	From, To            int // of the rows shown, counted from 1
	Rows                []Disclosure
	CSV                 string // URLs
	Previous, Next      string
}

// perPage is how many disclosures a page shows.
const perPage = 100

func (c *console) disclosures(w http.ResponseWriter, r *http.Request) {
	if c.Accountant == nil {
		fail(w, r, http.StatusNotFound, "there is no FHIR service, so nothing was disclosed")
		return
	}

	q := r.URL.Query()
	p := disclosuresPage{
		Patient: strings.TrimPrefix(strings.TrimSpace(q.Get("patient")), "Patient/"),
		Start:   strings.TrimSpace(q.Get("start")),
		End:     strings.TrimSpace(q.Get("end")),
	}

	status := http.StatusOK
	var all []Disclosure
	if p.Patient != "" {
		p.Asked = true
		var err error
		var bad *BadQuestion
		all, err = c.Accountant.Disclosures(r.Context(), p.Patient, p.Start, p.End)
		switch {
		case errors.As(err, &bad):
			status, p.Problem, p.Asked = http.StatusBadRequest, bad.Text, false
		case err != nil:
			c.unread(w, r, "the audit record cannot be read; the log says why")
			return
		}
	}

	switch {
	case p.Problem != "" && !wantsHTML(r):
		fail(w, r, status, p.Problem)
	case p.Asked && q.Get("format") == "csv":
		writeCSV(w, r, all)
	case wantsHTML(r):
		p.show(all, q.Get("page"))
		c.htmlStatus(w, r, status, "disclosures", p)
	default:
		reply(w, r, status, all)
	}
}

// show picks the rows of a page, and makes the links to the others.
func (p *disclosuresPage) show(all []Disclosure, page string) {
	n, err := strconv.Atoi(page)
	if err != nil || n < 1 || (n-1)*perPage >= len(all) {
		n = 1
	}
	from := (n - 1) * perPage
	to := min(len(all), from+perPage)
	p.Rows = all[from:to]
	p.Total, p.From, p.To = len(all), from+1, to

	p.CSV = p.link("format", "csv")
	if n > 1 {
		p.Previous = p.link("page", strconv.Itoa(n-1))
	}
	if to < len(all) {
		p.Next = p.link("page", strconv.Itoa(n+1))
	}
}

func (p *disclosuresPage) link(name, value string) string {
	return "/disclosures?" + url.Values{
		"patient": {p.Patient},
		"start":   {p.Start},
		"end":     {p.End},
		name:      {value},
	}.Encode()
}

// writeCSV writes all disclosures as a table (RFC 4180).
func writeCSV(w http.ResponseWriter, r *http.Request, all []Disclosure) {
	var b strings.Builder
	out := csv.NewWriter(&b)
	out.UseCRLF = true
	rows := [][]string{{
		"first", "last", "count", "client", "client_id", "uri", "community", "person", "purposes", "what", "addresses",
	}}
	for _, d := range all {
		rows = append(rows, []string{
			d.First.UTC().Format(time.RFC3339),
			d.Last.UTC().Format(time.RFC3339),
			strconv.Itoa(d.Count),
			cell(d.Client),
			cell(d.ClientID),
			cell(d.URI),
			cell(d.Community),
			cell(d.Person),
			cell(strings.Join(d.Purposes, " ")),
			cell(strings.Join(d.What, " ")),
			cell(strings.Join(d.Addresses, " ")),
		})
	}
	_ = out.WriteAll(rows) // a strings.Builder has no errors

	w.Header().Set("Content-Type", "text/csv; charset=utf-8; header=present")
	w.Header().Set("Content-Disposition", `attachment; filename="disclosures.csv"`)
	write(w, r, http.StatusOK, []byte(b.String()))
}

// cell keeps a text that a client chose from being a formula of a spreadsheet.
func cell(text string) string {
	text = oneLine(text)
	if strings.IndexAny(text, "=+-@\t") == 0 {
		return "'" + text
	}
	return text
}
