package measure

import (
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"
)

// Widths of the columns of a table.
const (
	labelWidth = 26
	valueWidth = 11
	ratioWidth = 19
)

// Print writes a table for each case, and then the goals. It returns how many goals are
// missed.
func (r *Run) Print(w io.Writer) (missed int) {
	fmt.Fprintln(w, r.Machine)
	for _, c := range r.cases() {
		r.printCase(w, c)
	}
	return r.printGoals(w)
}

// cases returns the cases in the order in which they were measured.
func (r *Run) cases() []string {
	return distinct(r.Figures, func(f *Figure) (string, bool) { return f.Case, true })
}

// units returns the units of a case, and sides its sides.
func (r *Run) units(work string) []string {
	return distinct(r.Figures, func(f *Figure) (string, bool) { return f.Unit, f.Case == work })
}

func (r *Run) sides(work string) []string {
	return distinct(r.Figures, func(f *Figure) (string, bool) { return f.Side, f.Case == work })
}

func distinct(figures []*Figure, of func(*Figure) (string, bool)) (all []string) {
	seen := map[string]bool{}
	for _, f := range figures {
		if name, wanted := of(f); wanted && !seen[name] {
			seen[name] = true
			all = append(all, name)
		}
	}
	return all
}

// printCase writes a line for each side: of each unit its figure, and the ratio to that
// of the first side.
func (r *Run) printCase(w io.Writer, work string) {
	units := r.units(work)
	heads := []string{}
	for _, unit := range units {
		heads = append(heads, unit, "of "+r.reference(work, unit).Side)
	}
	fmt.Fprintf(w, "\n%s\n", work)
	printLine(w, "", heads)

	for _, side := range r.sides(work) {
		var values []string
		for _, unit := range units {
			f := r.figure(work, unit, side)
			ratio := ""
			if first := r.reference(work, unit); f != nil && f != first {
				ratio = f.over(first).String()
			}
			values = append(values, f.text(), ratio)
		}

		printLine(w, "  "+side, values)
	}
}

// text is the median of a figure, with as many digits as are of use.
func (f *Figure) text() string {
	if f == nil {
		return "-"
	}
	return number(f.spread().Median)
}

func number(v float64) string {
	digits := 0
	switch a := math.Abs(v); {
	case a < 10:
		digits = 2
	case a < 100:
		digits = 1
	}
	return fmt.Sprintf("%.*f", digits, v)
}

// printLine writes a label, and by turns values and ratios, in columns.
func printLine(w io.Writer, label string, values []string) {
	line := pad(label, labelWidth, false)
	for i, v := range values {
		width := valueWidth
		if i%2 == 1 {
			width = ratioWidth
		}
		line += " " + pad(v, width, true)
	}
	fmt.Fprintln(w, strings.TrimRight(line, " "))
}

func pad(text string, width int, left bool) string {
	space := strings.Repeat(" ", max(0, width-utf8.RuneCountInString(text)))
	if left {
		return space + text
	}
	return text + space
}

func (r *Run) printGoals(w io.Writer) (missed int) {
	for i, g := range r.goals {
		if i == 0 {
			fmt.Fprintln(w, "\ngoals")
		}

		verdict := "met"
		got, met := r.meets(g)
		if !met {
			verdict = "MISSED"
			missed++
		}
		bound := "at least " + number(g.Least)
		if g.Most != 0 {
			bound = "at most " + number(g.Most)
		}

		fmt.Fprintf(w, "  %s %s  %s  %s\n", pad(g.name(), 60, false), pad(got, ratioWidth, true),
			pad(bound, 15, false), verdict)
	}

	return missed
}

func (g Goal) name() string {
	name := g.Case + ", " + g.Unit + ": " + g.Side
	if g.Of != "" {
		name += " beside " + g.Of
	}
	return name
}

// meets returns what was measured, and whether it meets the goal. What was not measured
// does not.
func (r *Run) meets(g Goal) (got string, met bool) {
	var v float64
	var measured bool
	if g.Of == "" {
		v, measured = r.Value(g.Case, g.Unit, g.Side)
		got = number(v)
	} else {
		var s Spread
		s, measured = r.Ratio(g.Case, g.Unit, g.Side, g.Of)
		v = s.Median
		got = s.String()
	}

	if !measured {
		return "not measured", false
	}
	return got, (g.Least == 0 || v >= g.Least) && (g.Most == 0 || v <= g.Most)
}
