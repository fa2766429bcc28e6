package report

import (
	"slices"
	"strings"
	"time"

	"fhirdest.example/udap/conform"
)

// Difference is what changed since an earlier report.
type Difference struct {
	Made    time.Time `json:"made"`   // when the earlier report was made
	Digest  string    `json:"digest"` // of the earlier report
	Changes []Change  `json:"changes,omitempty"`
}

// Change is a row whose verdict is another one than in the earlier report.
type Change struct {
	Row    string          `json:"row"`
	Title  string          `json:"title,omitempty"`
	Before conform.Verdict `json:"before"`
	Now    conform.Verdict `json:"now"`
	Better bool            `json:"better"`
}

// Better returns how many rows have a better verdict than before.
func (d *Difference) Better() int {
	n := 0
	for _, c := range d.Changes {
		if c.Better {
			n++
		}
	}
	return n
}

// Worse returns how many rows have a worse verdict than before.
func (d *Difference) Worse() int {
	n := 0
	for _, c := range d.Changes {
		if c.Worse() {
			n++
		}
	}
	return n
}

// Worse reports whether the verdict is a worse one than before. A row that was
// violated and is not exercised any more is neither better nor worse.
func (c Change) Worse() bool { return rank[c.Now] < rank[c.Before] }

// rank orders verdicts from bad to good. That of a row that was not exercised is
// between, and no improvement: a run that exercises less has not mended anything.
var rank = map[conform.Verdict]int{
	conform.Violated:     0,
	conform.Warned:       1,
	conform.NotExercised: 2,
	conform.Shown:        3,
}

// worst returns the verdict of each row: the worst one where a row has several.
func worst(rows []conform.Outcome) map[string]conform.Outcome {
	out := map[string]conform.Outcome{}
	for _, o := range rows {
		known, ok := out[o.Row]
		if !ok || known.Verdict == conform.NotExercised ||
			o.Verdict != conform.NotExercised && rank[o.Verdict] < rank[known.Verdict] {
			out[o.Row] = o
		}
	}
	return out
}

// compare returns nil where there is no earlier report. A row that only one of the
// two has counts as not exercised in the other.
func compare(earlier *Report, rows []conform.Outcome) *Difference {
	if earlier == nil {
		return nil
	}

	d := &Difference{
		Made:   earlier.Made,
		Digest: earlier.Digest,
	}
	before := worst(earlier.Rows)
	now := worst(rows)

	for id, o := range now {
		d.add(id, o.Title, verdictOf(before, id), o.Verdict)
	}
	for id, o := range before {
		if _, both := now[id]; !both {
			d.add(id, o.Title, o.Verdict, conform.NotExercised)
		}
	}

	slices.SortFunc(d.Changes, func(a, b Change) int {
		if a.Better != b.Better {
			if b.Better {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Row, b.Row)
	})
	return d
}

func verdictOf(rows map[string]conform.Outcome, id string) conform.Verdict {
	if o, ok := rows[id]; ok {
		return o.Verdict
	}
	return conform.NotExercised
}

func (d *Difference) add(id, title string, before, now conform.Verdict) {
	if before == now {
		return
	}

	d.Changes = append(d.Changes, Change{
		Row:    id,
		Title:  title,
		Before: before,
		Now:    now,
		Better: rank[now] > rank[before] && now != conform.NotExercised,
	})
}
