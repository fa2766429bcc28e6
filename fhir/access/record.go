package access

import (
	"cmp"
	"time"

	"fhirdest.example/udap/trace"
)

// maxRecorded bounds the decisions of one request that are recorded: lists make
// thousands.
const maxRecorded = 32

// step is one decision, before a trace is made of it.
type step struct {
	check  trace.Check
	passed bool
	typ    string // what it is about: a type, a resource of it, or a path
	id     string
	reason Reason
	remedy string // "" for the usual one

	finding *trace.Finding // instead of reason and remedy
}

func (s *step) what() string {
	if s.id == "" {
		return s.typ
	}
	return s.typ + "/" + s.id
}

func (r *Reader) record(s step) {
	if len(r.steps) < maxRecorded {
		r.steps = append(r.steps, s)
	}
}

// Refuse records a refusal that was decided elsewhere, by a check of a Rule.
func (r *Reader) Refuse(check trace.Check, f trace.Finding) {
	r.record(step{
		check:   check,
		finding: &f,
	})
}

// Consulted reports whether anything was decided.
func (r *Reader) Consulted() bool {
	return len(r.steps) > 0
}

// Refused reports whether the last decision was a refusal.
func (r *Reader) Refused() bool {
	return len(r.steps) > 0 && !r.steps[len(r.steps)-1].passed
}

// Trace returns the record of what the Reader has decided. It is made when it
// is asked for: most requests are not refused.
func (r *Reader) Trace(now time.Time) *trace.Trace {
	t := trace.NewTrace("access", now)
	t.ClientID = trace.ClientID(r.grant.Client)
	scopes := ""

	for _, sc := range r.grant.Scopes {
		scopes += " " + sc.String()
	}

	for _, s := range r.steps {
		if s.passed {
			t.Pass(s.check, "", s.what())
			continue
		}

		f := trace.Finding{
			Expected: s.what(),
			Found:    string(s.reason),
			Remedy:   cmp.Or(s.remedy, "ask for a scope that covers it"),
		}

		code := trace.AccessDenied
		if s.finding != nil {
			f = *s.finding
		} else if s.reason == Visible {
			code = trace.InsufficientScope
			f.Found = "the token's scopes:" + scopes
		}
		t.Refuse(s.check, code, f)
	}

	return t
}
