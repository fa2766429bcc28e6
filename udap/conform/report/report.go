package report

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	json "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/udap/conform"
)

// Version is that of the JSON form. A member may be added without a new version;
// none changes its meaning.
const Version = 1

// Kind says which side a report is about.
type Kind string

// The kinds.
const (
	Client      Kind = "client"
	Destination Kind = "destination"
)

// About is what a report is about.
type About struct {
	Kind     Kind      `json:"kind"`
	Subject  string    `json:"subject"` // name of the session, or URL that was examined
	Base     string    `json:"base"`    // FHIR base URL that was used
	Profile  string    `json:"profile"` // whose rows bind: ssraa-1, ssraa-2, tefca
	Mode     string    `json:"mode,omitempty"`
	Started  time.Time `json:"started"`
	Ended    time.Time `json:"ended"`
	Requests int       `json:"requests"`
	Software string    `json:"software,omitempty"` // our own version
}

// Summary counts rows by verdict, and faults by what became of them.
type Summary struct {
	Shown        int `json:"shown"`
	Violated     int `json:"violated"`
	Warned       int `json:"warned"`
	NotExercised int `json:"notExercised"`
	Noticed      int `json:"noticed,omitzero"`
	Ignored      int `json:"ignored,omitzero"`
}

// Fault is a deliberate fault that a client met, and what it did then.
type Fault struct {
	Name    string `json:"name"`
	Title   string `json:"title"`
	Outcome string `json:"outcome"` // Noticed, Ignored or NotSeen
	Text    string `json:"text,omitempty"`
	Correct string `json:"correct,omitempty"` // what a correct client does
	Rule    string `json:"rule,omitempty"`
}

// What became of a deliberate fault.
const (
	Noticed = "noticed"
	Ignored = "ignored"
	NotSeen = "not seen"
)

// Report is what was found in one run. Only New makes one.
type Report struct {
	Version int       `json:"version"`
	Made    time.Time `json:"made"`
	About

	Summary    Summary           `json:"summary"`
	Rows       []conform.Outcome `json:"rows"` // in the order of their ids
	Faults     []Fault           `json:"faults,omitempty"`
	Notes      []string          `json:"notes,omitempty"` // what could not be attributed, and the like
	Difference *Difference       `json:"difference,omitempty"`

	// Digest is the SHA-256, in hexadecimal, of the JSON form without this member.
	Digest string `json:"digest,omitempty"`
}

// Found is what a run brought.
type Found struct {
	Rows   []conform.Outcome
	Faults []Fault
	Notes  []string
}

// New returns the report of what was found, and how it differs from an earlier
// one; earlier may be nil.
func New(about About, found Found, earlier *Report, now time.Time) (*Report, error) {
	about.Started = seconds(about.Started)
	about.Ended = seconds(about.Ended)

	r := &Report{
		Version: Version,
		Made:    seconds(now),
		About:   about,
		Rows:    slices.Clone(found.Rows),
		Faults:  slices.Clone(found.Faults),
		Notes:   slices.Clone(found.Notes),
	}
	slices.SortStableFunc(r.Rows, func(a, b conform.Outcome) int {
		return cmp.Compare(a.Row, b.Row)
	})

	r.Summary = summarize(r.Rows, r.Faults)
	r.Difference = compare(earlier, r.Rows)

	digest, err := r.digest()
	r.Digest = digest
	return r, err
}

func seconds(t time.Time) time.Time {
	return t.UTC().Truncate(time.Second)
}

func summarize(rows []conform.Outcome, faults []Fault) Summary {
	var s Summary
	for _, o := range rows {
		switch o.Verdict {
		case conform.Shown:
			s.Shown++
		case conform.Violated:
			s.Violated++
		case conform.Warned:
			s.Warned++
		default:
			s.NotExercised++
		}
	}

	for _, f := range faults {
		switch f.Outcome {
		case Noticed:
			s.Noticed++
		case Ignored:
			s.Ignored++
		}
	}

	return s
}

// form of JSON: the same report has the same text. What a client sent need not be
// UTF-8; other bytes become U+FFFD.
var form = json.JoinOptions(json.Deterministic(true), jsontext.AllowInvalidUTF8(true))

func (r *Report) digest() (string, error) {
	bare := *r
	bare.Digest = ""

	text, err := json.Marshal(bare, form)
	if err != nil {
		return "", err
	}

	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// With returns the rows that have the verdict.
func (r *Report) With(v conform.Verdict) []conform.Outcome {
	var out []conform.Outcome
	for _, o := range r.Rows {
		if o.Verdict == v {
			out = append(out, o)
		}
	}
	return out
}

// Fails reports whether the report has a row with the verdict or a worse one, or
// a fault that was ignored.
func (r *Report) Fails(on conform.Verdict) bool {
	if r.Summary.Violated > 0 || r.Summary.Ignored > 0 {
		return true
	}
	return on == conform.Warned && r.Summary.Warned > 0
}

// JSON returns the report in its JSON form.
func (r *Report) JSON() ([]byte, error) {
	text, err := json.Marshal(r, form, jsontext.WithIndent("  "))
	if err != nil {
		return nil, err
	}
	return append(text, '\n'), nil
}

// Parse returns the report that JSON wrote. Its error names a version that is not
// known, and a text that is not the one that was written.
func Parse(text []byte) (*Report, error) {
	var r Report
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("not a report: %w", err)
	}
	if r.Version != Version {
		return nil, fmt.Errorf("the report has version %d; this program reads version %d", r.Version, Version)
	}

	digest, err := r.digest()
	if err != nil {
		return nil, err
	}
	if r.Digest != digest {
		return nil, fmt.Errorf("the report was changed: its digest is %s, its member digest has %q", digest, r.Digest)
	}

	return &r, nil
}
