package trace

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Verdict is the outcome of one check.
type Verdict string

// The verdicts of a check.
const (
	Passed  Verdict = "passed"
	Warned  Verdict = "warned" // accepted, because a named leniency allowed it or it is harmless
	Refused Verdict = "refused"
	Skipped Verdict = "skipped" // the check does not apply here; Found has the reason

	// Observed: the check refused, and the decision went on, because its trace
	// observes and tolerates that.
	Observed Verdict = "observed"
)

// Finding is what a check expected and found, and what the other side can do.
type Finding struct {
	Expected string
	Found    string
	Remedy   string
	Err      error // hidden cause, for the log

	// Final: an observing trace does not go on after this, whatever check refused.
	Final bool
}

// Step is one check with its verdict.
type Step struct {
	Check        string   `json:"check"`
	Title        string   `json:"title"`
	Requirements []string `json:"requirements,omitempty"`
	Verdict      Verdict  `json:"verdict"`
	Expected     string   `json:"expected,omitempty"`
	Found        string   `json:"found,omitempty"`
	Remedy       string   `json:"remedy,omitempty"`
}

// Trace is the record of one decision: the client, each check in order, and the
// outcome. It never holds a secret: callers give names, digests and values
// that the other side published.
type Trace struct {
	ID          string       `json:"id"`
	Action      string       `json:"action"` // register, token, introspect, revoke, metadata, discover, ...
	Time        time.Time    `json:"time"`
	Community   CommunityURI `json:"community,omitempty"`
	Client      ClientURI    `json:"client,omitempty"`
	ClientID    ClientID     `json:"clientId,omitempty"`
	Certificate string       `json:"certificate,omitempty"` // subject and serial of the leaf
	Steps       []Step       `json:"steps"`
	Code        Code         `json:"code,omitempty"` // empty when nothing was refused
	// RefusedBy is the name of the check that decided; other refused steps are
	// further mistakes.
	RefusedBy string `json:"refusedBy,omitempty"`

	// Effect is what came of the decision; empty when nothing did that lasts.
	Effect Effect `json:"effect,omitempty"`
	About

	tolerated Tolerance // nil: every refusal ends the decision
}

// Tolerance reports whether a decision may go on after the check of that name has
// refused.
type Tolerance func(check string) bool

// About is who and what a decision was about, for the audit record. Each member may
// be empty.
type About struct {
	Address string `json:"address,omitempty"` // IP address of the other side
	Person  string `json:"person,omitempty"`  // subject of the person who acted, once that is proved
	Patient string `json:"patient,omitempty"` // id of the patient in context
	Grant   string `json:"grant,omitempty"`   // id of what a person granted
	Token   string `json:"token,omitempty"`   // id of an access token; never the token
}

// Effect is what came of a decision.
type Effect string

// The effects that the audit record has.
const (
	Registered   Effect = "registered"
	Changed      Effect = "changed" // a registration
	Cancelled    Effect = "cancelled"
	Issued       Effect = "issued" // a token
	Introspected Effect = "introspected"
	Revoked      Effect = "revoked"
	SignedIn     Effect = "signed in"
	SignedOut    Effect = "signed out"
	Approved     Effect = "approved" // by a person, for whom a code was issued
	Withdrawn    Effect = "withdrawn"
	Launched     Effect = "launched"
)

// Bounds of a trace: what a client sends cannot make it grow past these.
const (
	maxSteps    = 200
	usualSteps  = 40  // what one accepted token leaves
	maxStepText = 600 // bytes of each text
)

// NewTrace starts the record of one decision at the given time.
func NewTrace(action string, now time.Time) *Trace {
	var id [12]byte
	_, _ = rand.Read(id[:]) // crypto/rand.Read never fails (Go 1.24)
	var text [2 * len(id)]byte
	hex.Encode(text[:], id[:])
	t := &struct {
		Trace
		room [usualSteps]Step
	}{}
	t.Trace = Trace{
		ID:     string(text[:]),
		Action: action,
		Time:   now,
		Steps:  t.room[:0],
	}
	return &t.Trace
}

// Observe lets the decision go on after refusals that are tolerated, at those places
// that call Note or Independent. The refusals are recorded as Observed. nil: after
// none, which is how every trace begins.
func (t *Trace) Observe(tolerated Tolerance) { t.tolerated = tolerated }

// Observes reports whether the decision goes on after some refusals.
func (t *Trace) Observes() bool { return t.tolerated != nil }

// Pass records that a check held.
func (t *Trace) Pass(c Check, expected, found string) {
	t.add(c, Passed, Finding{
		Expected: expected,
		Found:    found,
	})
}

// Warn records that a check accepted something it should not have needed to.
func (t *Trace) Warn(c Check, f Finding) { t.add(c, Warned, f) }

// Skip records that a check does not apply, and why.
func (t *Trace) Skip(c Check, why string) { t.add(c, Skipped, Finding{Found: why}) }

// Refuse records that a check failed and returns the refusal.
func (t *Trace) Refuse(c Check, code Code, f Finding) *Error {
	t.add(c, Refused, f)
	t.Code, t.RefusedBy = code, c.Name
	return &Error{
		Code:   code,
		Detail: f.detail(),
		Check:  c.Name,
		Err:    f.Err,
		final:  f.Final,
	}
}

// Collect runs all of some checks that do not depend on one another, also after
// one of them has refused, so that a client learns all its mistakes at once. It
// returns the first error. What is refused after it are further steps of the
// trace; what passes after it is left out.
func (t *Trace) Collect(checks ...func() error) error {
	var first error
	for _, check := range checks {
		if first == nil {
			first = check()
		} else {
			t.further(check)
		}
	}

	return first
}

// Independent is Collect for checks after whose refusal an observing trace may go on:
// they leave behind only what the next step can do without.
func (t *Trace) Independent(checks ...func() error) error {
	var first error
	for _, check := range checks {
		if first == nil {
			first = t.Note(check())
		} else {
			t.further(func() error { return t.Note(check()) })
		}
	}

	return first
}

// further runs a check after another one has decided: of its steps, those that are
// refused stay in the trace.
func (t *Trace) further(check func() error) {
	code, by, n := t.Code, t.RefusedBy, len(t.Steps)
	_ = check() // the first error is the answer; this one is in the trace
	t.Code, t.RefusedBy = code, by
	later := slices.DeleteFunc(t.Steps[n:], func(s Step) bool {
		return s.Verdict != Refused && s.Verdict != Observed
	})
	t.Steps = t.Steps[:n+len(later)]
}

// Note returns nil for the last refusal of an observing trace if that is tolerated,
// and records it as Observed. It returns every other error as it is, and so those
// for which the other side is not to blame.
func (t *Trace) Note(err error) error {
	if err == nil || t.tolerated == nil {
		return err
	}

	var e *Error
	if !errors.As(err, &e) || e.Check != t.RefusedBy || !t.tolerated(e.Check) {
		return err
	}
	if e.final || e.Code == ServerError || e.Code == TemporarilyUnavailable {
		return err
	}

	for i := len(t.Steps) - 1; i >= 0; i-- {
		if s := &t.Steps[i]; s.Check == e.Check && s.Verdict == Refused {
			s.Verdict = Observed
			t.Code, t.RefusedBy = "", ""
			return nil
		}
	}

	return err // the trace is full, and does not have it
}

// Observations returns the steps that refused and did not end the decision.
func (t *Trace) Observations() []Step { return t.with(Observed) }

// Further returns the refused steps other than the one that decided: what else
// is wrong.
func (t *Trace) Further() []Step {
	var out []Step
	for _, s := range t.Steps {
		if s.Verdict == Refused && s.Check != t.RefusedBy {
			out = append(out, s)
		}
	}
	return out
}

// Warnings returns the steps that were accepted with a warning.
func (t *Trace) Warnings() []Step { return t.with(Warned) }

func (t *Trace) with(v Verdict) []Step {
	var out []Step
	for _, s := range t.Steps {
		if s.Verdict == v {
			out = append(out, s)
		}
	}
	return out
}

func (t *Trace) add(c Check, v Verdict, f Finding) {
	if len(t.Steps) >= maxSteps {
		return
	}
	t.Steps = append(t.Steps, Step{
		Check: c.Name, Title: c.Title, Requirements: c.Requirements, Verdict: v,
		Expected: printable(f.Expected), Found: printable(f.Found), Remedy: printable(f.Remedy),
	})
}

// Detach copies the texts of the trace that can be parts of a request: they would keep the
// whole of it in memory as long as the trace.
func (t *Trace) Detach() {
	t.ClientID = ClientID(strings.Clone(string(t.ClientID)))
	t.Client = ClientURI(strings.Clone(string(t.Client)))
	for _, text := range []*string{
		&t.Person,
		&t.Patient,
		&t.Grant,
		&t.Token,
	} {
		*text = strings.Clone(*text)
	}

	for i := range t.Steps {
		s := &t.Steps[i]
		s.Expected = strings.Clone(s.Expected)
		s.Found = strings.Clone(s.Found)
		s.Remedy = strings.Clone(s.Remedy)
	}
}

func (f Finding) detail() string {
	return detail(printable(f.Expected), printable(f.Found), printable(f.Remedy))
}

// Detail returns what was expected, what was found and the remedy, as one line.
func (s Step) Detail() string { return detail(s.Expected, s.Found, s.Remedy) }

func detail(expected, found, remedy string) string {
	var parts []string
	if expected != "" {
		parts = append(parts, "expected "+expected)
	}
	if found != "" {
		parts = append(parts, "found "+found)
	}
	if remedy != "" {
		parts = append(parts, remedy)
	}

	return strings.Join(parts, "; ")
}

// printable bounds a text and replaces what could forge a log line or move a
// terminal's cursor (controls, bidirectional marks, invalid UTF-8).
func printable(s string) string {
	if len(s) <= maxStepText && PlainASCII(s) {
		return s
	}

	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !Visible(r) {
			return '\uFFFD'
		}
		return r
	}, s)
	return Cut(s, maxStepText)
}

// Visible reports whether a reader sees a character, or an ASCII space, as what it
// is. Controls, direction marks and characters of no width are not visible, nor are
// the letters and signs that fonts leave blank: Hangul fillers and the empty Braille
// cell (Unicode, Default_Ignorable_Code_Point).
func Visible(r rune) bool {
	const emptyBraille = '\u2800'
	return unicode.IsPrint(r) &&
		r != emptyBraille &&
		!unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r)
}

// PlainASCII reports whether s has printable ASCII characters only.
func PlainASCII(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}
