package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"fhirdest.example/gateway/evidence"
)

// drawnRow is a row of a report's picture.
type drawnRow struct {
	label  string
	arrows []string // their kinds
}

var (
	headingText = regexp.MustCompile(`<text class="heading"[^>]*>([^<]*)</text>`)
	rowText     = regexp.MustCompile(`<g><title>[^<]*</title><text[^>]*>([^<]*)</text>`)
	arrowText   = regexp.MustCompile(`<line class="(identical|straight|differs)"`)
)

// picturedRows reads the picture of a report, by heading.
func picturedRows(t *testing.T, page string) map[string][]drawnRow {
	t.Helper()
	rows, heading := map[string][]drawnRow{}, ""
	for line := range strings.Lines(page) {
		if m := headingText.FindStringSubmatch(line); m != nil {
			heading = m[1]
		}
		if m := rowText.FindStringSubmatch(line); m != nil {
			r := drawnRow{label: m[1]}
			for _, a := range arrowText.FindAllStringSubmatch(line, -1) {
				r.arrows = append(r.arrows, a[1])
			}
			rows[heading] = append(rows[heading], r)
		}
	}

	if len(rows) == 0 {
		t.Fatal("the report has no picture")
	}
	return rows
}

var labelForm = regexp.MustCompile(`^([1-5]\d\d to )?(GET|POST|PUT|DELETE) /\S+, [a-z]+$`)

// checkPicture holds every row to what a reader must find in it: method, path and purpose,
// an answer under its request, no gateway in what went straight, and only so many wires on
// which something differs.
func checkPicture(t *testing.T, page string, differing int) {
	t.Helper()
	differs := 0
	for heading, rows := range picturedRows(t, page) {
		request := ""
		for _, r := range rows {
			if !labelForm.MatchString(r.label) {
				t.Errorf("%s: a row is labelled %q", heading, r.label)
			}
			if _, of, answer := strings.Cut(r.label, " to "); !answer {
				request = r.label
			} else if of != request {
				t.Errorf("%s: %q is drawn under %q", heading, r.label, request)
			}

			if heading == "straight" && !slices.Equal(r.arrows, []string{"straight"}) {
				t.Errorf("%s: %q has arrows %v", heading, r.label, r.arrows)
			}
			if heading == "data" && slices.Contains(r.arrows, "straight") {
				t.Errorf("%s: %q went straight", heading, r.label)
			}
			for _, a := range r.arrows {
				if a == "differs" {
					differs++
				}
			}
		}
	}
	if differs != differing {
		t.Errorf("%d wires are red, want %d", differs, differing)
	}
}

func TestArrows(t *testing.T) {
	at := func(hops ...int) (places []evidence.Place) {
		for _, h := range hops {
			places = append(places, evidence.Place{Index: h, Conn: "c", Seq: 1})
		}
		return places
	}

	p := picture{Hops: []pictureHop{{"o", 0}, {"g", 10}, {"d", 20}, {"s", 30}}}
	for name, c := range map[string]struct {
		finding evidence.Finding
		want    string
	}{
		"identical": {evidence.Finding{Verdict: evidence.Identical, Dir: "request", Places: at(0, 1, 2, 3)},
			"0-10 identical, 10-20 identical, 20-30 identical"},
		"an answer": {evidence.Finding{Verdict: evidence.Identical, Dir: "response", Places: at(0, 1, 2, 3)},
			"10-0 identical, 20-10 identical, 30-20 identical"},
		"straight": {evidence.Finding{Verdict: evidence.Straight, Dir: "response", Places: at(0, 3)},
			"30-0 straight"},
		"answered by the gateway": {evidence.Finding{Verdict: evidence.Answered, Dir: "response", Places: at(0, 1)},
			"10-0 identical"},
		"changed behind the gateway": {evidence.Finding{Verdict: evidence.Differs, Dir: "request", Wire: 2,
			Places: at(0, 1, 2, 3)}, "0-10 identical, 10-20 differs, 20-30 identical"},
		"swallowed behind the gateway": {evidence.Finding{Verdict: evidence.Differs, Dir: "request", Wire: 2,
			Places: at(0, 1)}, "0-10 identical, 10-20 differs"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, a := range p.arrows(c.finding, 0) {
				got = append(got, fmt.Sprintf("%d-%d %s", a.X1, a.X2, a.Kind))
			}
			if text := strings.Join(got, ", "); text != c.want {
				t.Errorf("got %s, want %s", text, c.want)
			}
		})
	}
}

// Answers stay with their requests, whatever the clocks of the hops show.
func TestExchangesOf(t *testing.T) {
	now := time.Now()
	at := func(conn string, seq uint64) []evidence.Place {
		return []evidence.Place{{Hop: "originator", Conn: conn, Seq: seq}}
	}
	all := exchangesOf([]evidence.Finding{
		{Dir: "response", Time: now.Add(-time.Hour), Places: at("a", 2), Status: 202},
		{Dir: "request", Time: now, Places: at("a", 1)},
		{Dir: "request", Time: now.Add(2), Places: at("a", 2)},
		{Dir: "response", Time: now.Add(time.Hour), Places: at("a", 1), Status: 201},
		{Dir: "request", Time: now.Add(1), Places: at("b", 1)},
		{Dir: "response", Time: now.Add(1), Places: at("b", 1), Status: 203},
	})

	var got []string
	for _, x := range all {
		for _, f := range x.findings {
			got = append(got, fmt.Sprintf("%s%d %s %d", f.Places[0].Conn, f.Places[0].Seq, f.Dir, f.Status))
		}
	}
	want := "a1 request 0; a1 response 201; b1 request 0; b1 response 203; a2 request 0; a2 response 202"
	if text := strings.Join(got, "; "); text != want {
		t.Errorf("got %s, want %s", text, want)
	}
}

func TestPurpose(t *testing.T) {
	for target, want := range map[string]string{
		"GET /acme/fhir/.well-known/udap?community=x": "discovery",
		"POST /acme/oauth/register":                   "registration",
		"POST /acme/oauth/token":                      "token",
		"GET /acme/fhir/metadata":                     "capabilities",
		"GET /acme/fhir/Patient/p1":                   "read",
		"GET /acme/fhir/Patient?_count=1":             "search",
		"GET /acme/fhir/Patient":                      "search",
		"PUT /acme/fhir/Patient/p1":                   "change",
		"GET /other":                                  "other",
	} {
		t.Run(target, func(t *testing.T) {
			method, path, _ := strings.Cut(target, " ")
			if got := (asked{method, path}).purpose(); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}
