package assess

import (
	"fmt"
	"slices"

	"fhirdest.example/udap/conform"
)

// maxExchanges is how many exchanges an outcome names.
const maxExchanges = 20

// tally is what was found about rows so far.
type tally map[string]*count

type count struct {
	worst     conform.Finding
	times     map[conform.Verdict]int
	exchanges map[conform.Verdict][]uint64
}

func (t tally) add(findings []conform.Finding) {
	for _, f := range findings {
		if f.Row == "" {
			continue
		}

		c := t[f.Row]
		if c == nil {
			c = &count{
				times:     map[conform.Verdict]int{},
				exchanges: map[conform.Verdict][]uint64{},
			}
			t[f.Row] = c
		}
		if gravity[f.Verdict] > gravity[c.worst.Verdict] {
			c.worst = f
		}

		c.times[f.Verdict]++
		if len(c.exchanges[f.Verdict]) < maxExchanges {
			c.exchanges[f.Verdict] = append(c.exchanges[f.Verdict], f.Exchange)
		}
	}
}

// outcomes returns an outcome for every row that binds a client under a profile,
// but for rows that only say again what others say.
func (t tally) outcomes(p conform.Profile) []conform.Outcome {
	var out []conform.Outcome
	for _, row := range conform.Rows() {
		if !row.Binds(conform.Client, p) || len(row.Same) > 0 {
			continue
		}

		o := row.Outcome()
		o.Also = row.Also(conform.Client, p)
		if c := t[row.ID]; c != nil {
			c.fill(&o)
		}
		out = append(out, o)
	}

	return out
}

func (c *count) fill(o *conform.Outcome) {
	f := c.worst
	o.Verdict = f.Verdict
	o.Text = f.Text
	o.Expected, o.Found, o.Remedy, o.Check = f.Expected, f.Found, f.Remedy, f.Check
	o.Exchanges = slices.Clone(c.exchanges[f.Verdict])

	switch n := c.times[f.Verdict]; {
	case f.Verdict == conform.Shown:
		o.Text = "shown by " + counted(n, "exchange")
	case n > 1:
		o.Text += fmt.Sprintf(" (%d times)", n)
	}
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// merge adds what was found about a row in another tally.
func (t tally) merge(row string, other *count) {
	c := t[row]
	if c == nil {
		t[row] = other
		return
	}

	if gravity[other.worst.Verdict] > gravity[c.worst.Verdict] {
		c.worst = other.worst
	}
	for v, n := range other.times {
		c.times[v] += n
		all := slices.Concat(c.exchanges[v], other.exchanges[v])
		slices.Sort(all)
		c.exchanges[v] = all[:min(len(all), maxExchanges)]
	}
}
