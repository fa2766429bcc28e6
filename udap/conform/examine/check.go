package examine

import (
	"fmt"
	"strings"

	"fhirdest.example/udap/conform"
)

// Check is one thing that a destination must do, or should.
type Check struct {
	Name   string // such as metadata.versions; unique
	Title  string
	Rows   string // ids of requirements, separated by spaces
	Rule   string // the section that has the rule, in words
	Remedy string // for the operator of a destination that fails
	Advice bool   // the rule is a SHOULD: a failure is a warning

	needs need // nil: nothing
	run   func(x *examination) answer
}

// need returns why a check cannot be made; empty when it can.
type need func(x *examination) (why string)

func signedMetadata(x *examination) string {
	if x.meta.signed == nil {
		return "signed_metadata could not be decoded"
	}
	return ""
}

func aRegistration(x *examination) string {
	if x.register == nil || !x.register.good() {
		return "no registration was made"
	}
	return ""
}

func aToken(x *examination) string {
	if x.issued == nil || !x.issued.good() {
		return "no token was issued"
	}
	return ""
}

func aChange(x *examination) string {
	if x.change == nil || !x.change.good() || x.register.id == "" {
		return "no registration was changed"
	}
	return ""
}

func clientForPeople(x *examination) string {
	if x.code == nil {
		return "no client for people was registered"
	}
	return x.code.why
}

// Finding is what a check found.
type Finding struct {
	Check    string          `json:"check"`
	Title    string          `json:"title"`
	Rows     []string        `json:"rows"`
	Rule     string          `json:"rule"`
	Verdict  conform.Verdict `json:"verdict"`
	Sent     string          `json:"sent,omitempty"` // in words; no secret is in it
	Expected string          `json:"expected,omitempty"`
	Found    string          `json:"found,omitempty"`
	Remedy   string          `json:"remedy,omitempty"`
	Reason   string          `json:"reason,omitempty"` // why the check was not exercised
}

// answer is what the function of a check returns.
type answer struct {
	verdict  conform.Verdict
	sent     string
	expected string
	found    string
	reason   string
}

func shown(format string, args ...any) answer {
	return answer{
		verdict: conform.Shown,
		found:   fmt.Sprintf(format, args...),
	}
}

func violated(expected, format string, args ...any) answer {
	return answer{
		verdict:  conform.Violated,
		expected: expected,
		found:    fmt.Sprintf(format, args...),
	}
}

func skipped(format string, args ...any) answer {
	return answer{
		verdict: conform.NotExercised,
		reason:  fmt.Sprintf(format, args...),
	}
}

// after returns the answer with what was sent.
func (a answer) after(format string, args ...any) answer {
	a.sent = fmt.Sprintf(format, args...)
	return a
}

// held returns shown if it holds, and violated if not.
func held(holds bool, expected, format string, args ...any) answer {
	if holds {
		return shown(format, args...)
	}
	return violated(expected, format, args...)
}

// finding returns what a check found, under a profile.
func (c Check) finding(a answer, p conform.Profile) Finding {
	f := Finding{
		Check:    c.Name,
		Title:    c.Title,
		Rows:     strings.Fields(c.Rows),
		Rule:     c.Rule,
		Verdict:  a.verdict,
		Sent:     a.sent,
		Expected: a.expected,
		Found:    a.found,
		Reason:   a.reason,
	}
	if a.verdict == conform.Violated {
		f.Remedy = c.Remedy
		if c.Advice || !c.obliges(p) {
			f.Verdict = conform.Warned
		}
	}
	return f
}

// Checks returns all checks, in the order in which they are made.
func Checks() []Check {
	var out []Check
	for _, list := range [][]Check{
		openChecks,
		listChecks,
		endpointChecks,
		signedChecks,
		discoveryChecks,
		registrationChecks,
		statementChecks(),
		certificateChecks(),
		tokenChecks,
		assertionChecks(),
		codeChecks,
		personChecks,
		lifeChecks,
	} {
		out = append(out, list...)
	}
	return out
}
