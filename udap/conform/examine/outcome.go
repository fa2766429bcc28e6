package examine

import (
	"fmt"
	"slices"
	"strings"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/trace"
)

// unseen are the rows that no check is about, by the reason.
var unseen = []struct{ reason, rows string }{
	{
		"the guide leaves it to the destination: either is right",
		"S1-063 S1-089 S1-098 S1-117 S1-131 S1-230 S1-243 S1-293 S1-294 S1-295 S2-10 S2-19 S2-24",
	},
	{
		"it binds a server without UDAP, which could not be examined",
		"S1-019",
	},
	{
		"it binds the client of the destination, which here is the examination",
		"S1-125",
	},
	{
		"what a destination stores cannot be seen from outside",
		"S1-112 S1-288",
	},
	{
		"it would need to wait until a code has expired, ten minutes or more",
		"S1-135",
	},
	{
		"it needs an identity provider of a community that the destination trusts, run by the examination",
		"S1-239 S1-245 S1-247 S1-248 S1-249 S1-250 S1-252 S1-253 S1-254 S1-255 S1-270 S1-271 S1-272 S1-273 " +
			"S1-279 S1-282 S1-283 S1-289 S1-290 S1-291 S1-292 S1-296 S1-297",
	},
	{
		"it binds an identity provider, which is examined by its own operator",
		"S1-259 S1-261 S1-263",
	},
	{
		"it needs two people who are signed in at once, and pages that a program does not know",
		"S1-262 S1-266 S1-278",
	},
	{
		"it needs a certification that the destination knows and a wrong one of the same name",
		"S2-17",
	},
	{
		"it needs a second FHIR server of the same registration endpoint",
		"S2-25",
	},
}

// reasonUnseen returns why no check is about a row; empty if one is.
func reasonUnseen(row string) string {
	for _, u := range unseen {
		if slices.Contains(strings.Fields(u.rows), row) {
			return u.reason
		}
	}
	return ""
}

// advises reports whether a row is no obligation.
func advises(level string) bool {
	return !strings.HasPrefix(level, "SHALL")
}

// binds reports whether a check has a row that binds a server under a profile.
func (c Check) binds(p conform.Profile) bool {
	return slices.ContainsFunc(strings.Fields(c.Rows), func(id string) bool {
		r, ok := conform.Lookup(id)
		return ok && r.Binds(conform.Server, p)
	})
}

// obliges reports whether a check has a row that is an obligation under a profile.
func (c Check) obliges(p conform.Profile) bool {
	return slices.ContainsFunc(strings.Fields(c.Rows), func(id string) bool {
		r, ok := conform.Lookup(id)
		return ok && r.Binds(conform.Server, p) && !advises(r.Level)
	})
}

// weights order verdicts: the heaviest of a row's findings is its outcome.
var weights = []conform.Verdict{
	conform.NotExercised,
	conform.Shown,
	conform.Warned,
	conform.Violated,
}

// Outcomes returns the outcome of every row that binds a server under the profile of
// the run, in the order of the catalogue.
func (r *Report) Outcomes() []conform.Outcome {
	var out []conform.Outcome
	for _, row := range conform.Rows() {
		if !row.Binds(conform.Server, r.Profile) {
			continue
		}

		o := row.Outcome()
		o.Text = reasonUnseen(row.ID)
		for _, f := range r.Findings {
			heavier := slices.Index(weights, f.Verdict) > slices.Index(weights, o.Verdict)
			if slices.Contains(f.Rows, row.ID) && (heavier || o.Check == "") {
				f.into(&o)
			}
		}

		r.others(&o)
		if o.Verdict == conform.Violated && advises(row.Level) {
			o.Verdict = conform.Warned
		}
		out = append(out, o)
	}
	return out
}

// others adds to an outcome what other checks found wrong in the same row, such as in the
// other kind of document, so that all of it is mended at once.
func (r *Report) others(o *conform.Outcome) {
	for _, f := range r.Findings {
		wrong := f.Verdict == conform.Violated || f.Verdict == conform.Warned
		if wrong && f.Check != o.Check && slices.Contains(f.Rows, o.Row) {
			more := fmt.Sprintf("%s; %s %s: %s", o.Found, f.Verdict, f.Check, f.Found)
			o.Found = trace.Cut(more, 2*maxShown)
		}
	}
}

// into writes a finding into the outcome of one of its rows.
func (f Finding) into(o *conform.Outcome) {
	o.Verdict, o.Check = f.Verdict, f.Check
	o.Expected, o.Found, o.Remedy = f.Expected, f.Found, f.Remedy
	o.Text = f.Reason
	if o.Text == "" {
		o.Text = f.Title
		if f.Verdict != conform.Shown {
			o.Text = "Not kept: " + f.Title
		}
	}
	if f.Sent != "" {
		o.Text += "; sent: " + f.Sent
	}
	if row, ok := conform.Lookup(o.Row); ok && !strings.HasPrefix(f.Rule, "UDAP Security") {
		o.Section = row.Section() + " (" + f.Rule + ")"
	}
}

// Count returns how many findings have a verdict.
func (r *Report) Count(v conform.Verdict) (n int) {
	for _, f := range r.Findings {
		if f.Verdict == v {
			n++
		}
	}
	return n
}
