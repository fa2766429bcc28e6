package measure

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// Options are what the command line of every benchmark has.
type Options struct {
	Rounds  int    // of each side
	Only    string // beginnings of the names of cases, with commas between; empty: all
	JSON    string // file for the figures; empty: none
	Against string // file of an earlier run; empty: none
}

// Flags declares the options.
func (o *Options) Flags(fs *flag.FlagSet, rounds int) {
	fs.IntVar(&o.Rounds, "rounds", rounds, "rounds of each side, by turns; the median counts")
	fs.StringVar(&o.Only, "only", "",
		"only the measurements whose names begin with one of `NAMES`, with commas between")
	fs.StringVar(&o.JSON, "json", "", "write the figures to `FILE`")
	fs.StringVar(&o.Against, "against", "", "compare with the figures of an earlier run in `FILE`")
}

// Wants reports whether a measurement is to be made.
func (o *Options) Wants(name string) bool {
	return slices.ContainsFunc(strings.Split(o.Only, ","), func(begin string) bool {
		return strings.HasPrefix(name, begin)
	})
}

// Finish prints a run, compares it with an earlier one, and saves it, as the options ask.
func (o *Options) Finish(w io.Writer, r *Run) error {
	r.Print(w)
	if o.Against != "" {
		before, err := load(o.Against)
		if err != nil {
			return err
		}
		r.printAgainst(w, before)
	}

	if o.JSON == "" {
		return nil
	}

	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(o.JSON, append(text, '\n'), 0o644)
}

func load(path string) (*Run, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}

	r := &Run{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// printAgainst writes how each figure is beside that of an earlier run. Figures are
// compared as parts of what the first side of their own run needed, so that a machine
// that is faster or busier than it was does not matter; that of the first side itself
// shows how much it was.
func (r *Run) printAgainst(w io.Writer, before *Run) {
	fmt.Fprintf(w, "\nagainst the run of %s (%s)\n", before.Began.Format("2006-01-02 15:04"), before.Machine)
	fmt.Fprintln(w, "beside what the first side of the same run needed, now / then")

	for _, f := range r.Figures {
		old := before.figure(f.Case, f.Unit, f.Side)
		if old == nil {
			continue
		}

		first := r.reference(f.Case, f.Unit)
		oldFirst := before.figure(first.Case, first.Unit, first.Side)
		now, then := f.spread().Median, old.spread().Median
		note := "  (the figure itself)"
		if f != first && oldFirst != nil {
			note = ""
			now = f.over(first).Median
			then = old.over(oldFirst).Median
		}

		change := "-"
		if then != 0 {
			change = number(now / then)
		}
		fmt.Fprintf(w, "  %s %s  %s / %s%s\n", pad(f.Case+", "+f.Unit+": "+f.Side, 60, false), pad(change, 8, true),
			number(now), number(then), note)
	}
}
