package conform

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Row is one requirement of the catalogue.
type Row struct {
	ID     string
	Level  string // of the guide: SHALL, SHOULD, MAY, ...
	Actors []Actor
	Title  string // the requirement in our own short words
	Link   string // to the section of the guide or RFC

	// Same are the rows that together say the same. A client is assessed by
	// those; this row has their outcome.
	Same []string

	// Hidden is why what a client does about it cannot be seen from outside.
	// Empty: it can.
	Hidden string
}

// Actor is a side that a requirement binds.
type Actor string

// The actors.
const (
	Client    Actor = "client"
	Server    Actor = "server"
	Community Actor = "trust community"
)

// Profile is the set of rules that a client is held to.
type Profile string

// The profiles.
const (
	SSRAA1 Profile = "ssraa-1" // UDAP Security 1.x
	SSRAA2 Profile = "ssraa-2" // UDAP Security 2.0
	TEFCA  Profile = "tefca"   // 2.0, and what TEFCA's procedures add
)

// Profiles returns every profile.
func Profiles() []Profile { return []Profile{SSRAA1, SSRAA2, TEFCA} }

//go:embed rows.tsv
var rowsFile string

// catalogue is rowsFile, parsed.
var catalogue = sync.OnceValue(func() map[string]Row {
	byID := map[string]Row{}
	for line := range strings.Lines(rowsFile) {
		if strings.HasPrefix(line, "#") {
			continue
		}

		row, err := parseRow(line)
		if _, twice := byID[row.ID]; err != nil || twice {
			panic(fmt.Sprintf("conform: rows.tsv: %q: %v", line, err)) // embedded: a test reads it
		}
		byID[row.ID] = row
	}

	return byID
})

// actors are the letters of the third column of rows.tsv.
var actors = map[rune]Actor{
	'C': Client,
	'S': Server,
	'T': Community,
}

func parseRow(line string) (Row, error) {
	const columns = 7
	cells := strings.Split(strings.TrimRight(line, "\n"), "\t")
	if len(cells) < 5 || len(cells) > columns {
		return Row{}, fmt.Errorf("%d columns", len(cells))
	}

	cells = append(cells, make([]string, columns-len(cells))...)
	row := Row{
		ID:     cells[0],
		Level:  cells[1],
		Title:  cells[3],
		Link:   cells[4],
		Same:   strings.Fields(cells[5]),
		Hidden: cells[6],
	}

	for _, letter := range cells[2] {
		a, ok := actors[letter]
		if !ok {
			return Row{}, fmt.Errorf("no actor %q", letter)
		}
		row.Actors = append(row.Actors, a)
	}

	return row, nil
}

// Rows returns the whole catalogue, in the order of the ids: UDAP Security 1.x and
// the UDAP profiles (S1), what 2.0 adds (S2), what RFCs and FHIR ask of every client
// (C), and TEFCA's procedures (TF).
var Rows = sync.OnceValue(func() []Row {
	var out []Row
	for _, r := range catalogue() {
		out = append(out, r)
	}

	slices.SortFunc(out, func(a, b Row) int {
		return strings.Compare(orderOf(a), orderOf(b))
	})
	return out
})

// families are the prefixes of ids in the order of reports.
var families = []string{"S1", "S2", "C", "TF"}

func orderOf(r Row) string {
	prefix, number, _ := strings.Cut(r.ID, "-")
	return fmt.Sprintf("%d%4s", slices.Index(families, prefix), number)
}

// Lookup returns the row with an id, and whether there is one.
func Lookup(id string) (Row, bool) {
	r, ok := catalogue()[id]
	return r, ok
}

// Binds reports whether the requirement binds an actor under a profile.
func (r Row) Binds(a Actor, p Profile) bool {
	if !slices.Contains(r.Actors, a) {
		return false
	}

	switch prefix, _, _ := strings.Cut(r.ID, "-"); prefix {
	case "S2":
		return p != SSRAA1
	case "TF":
		return p == TEFCA
	}

	return true
}

// Outcome returns the row's outcome before anything was found about it.
func (r Row) Outcome() Outcome {
	o := Outcome{
		Row:     r.ID,
		Level:   r.Level,
		Title:   r.Title,
		Section: r.Section(),
		Link:    r.Link,
		Verdict: NotExercised,
		Text:    r.Hidden,
	}

	if o.Text == "" {
		o.Text = "nothing that was sent shows it"
	}
	return o
}

// Also returns the ids of the rows that bind an actor under a profile and say the same
// as this one, or of which this one is a part.
func (r Row) Also(a Actor, p Profile) []string {
	var out []string
	for _, other := range wholes()[r.ID] {
		if other.Binds(a, p) {
			out = append(out, other.ID)
		}
	}
	return out
}

// wholes are the rows that have a row in Same, by its id.
var wholes = sync.OnceValue(func() map[string][]Row {
	out := map[string][]Row{}
	for _, r := range Rows() {
		for _, part := range r.Same {
			out[part] = append(out[part], r)
		}
	}
	return out
})

// guides are the beginnings of links with the names of what they lead to.
var guides = []struct{ link, name string }{
	{"https://hl7.org/fhir/us/udap-security/STU1/", "UDAP Security 1.0, "},
	{"https://hl7.org/fhir/us/udap-security/STU2/", "UDAP Security 2.0, "},
	{"https://hl7.org/fhir/R4/", "FHIR R4, "},
	{"https://datatracker.ietf.org/doc/html/rfc", "RFC "},
	{"https://www.rfc-editor.org/rfc/rfc", "RFC "},
	{"https://www.udap.org/", "UDAP.org, "},
	{"https://openid.net/specs/openid-connect-core-1_0.html", "OpenID Connect Core"},
	{"https://rce.sequoiaproject.org/", "TEFCA, "},
}

// Section returns the section of the guide in words, such as "RFC 6749, section 4.1.3".
func (r Row) Section() string {
	for _, g := range guides {
		rest, ok := strings.CutPrefix(r.Link, g.link)
		if !ok {
			continue
		}

		page, part, _ := strings.Cut(rest, "#")
		page = strings.Trim(strings.TrimSuffix(page, ".html"), "/")
		part = strings.ReplaceAll(part, "section-", "section ")
		part = strings.ReplaceAll(part, "-", " ")
		parts := strings.TrimSuffix(g.name+page, ", ")
		if part == "" {
			return parts
		}
		return parts + ", " + part
	}

	return r.Link
}
