// Package measure compares sides that do the same work by turns in one run, so that
// whatever else the machine does meets all of them alike. A figure is the median of its
// rounds; a ratio is the median of the ratios of the rounds, with the least and the
// greatest of them.
package measure

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Units of figures that most benchmarks have.
const (
	PerSecond = "/s"
	CPUMicros = "CPU µs" // of processor time for each piece of work
)

// Values are what one round of one side gave, by unit.
type Values map[string]float64

// Side is one of those that are compared.
type Side struct {
	Name string
	Do   func() (Values, error) // one round
}

// Run is the figures of one run of a benchmark. The zero value has none.
type Run struct {
	Machine string    `json:"machine"`
	Began   time.Time `json:"began"`
	Figures []*Figure `json:"figures"`
	goals   []Goal
}

// Figure is one quantity of one side: a value for each round.
type Figure struct {
	Case   string    `json:"case"` // the work
	Unit   string    `json:"unit"`
	Side   string    `json:"side"`
	Rounds []float64 `json:"rounds"`
}

// Goal is a bound on a figure, or on the ratio of it to that of another side.
type Goal struct {
	Case, Unit, Side string
	Of               string  // the other side; empty: the figure itself counts
	Least, Most      float64 // one of them; 0 is no bound
}

// NewRun returns a run without figures, on this machine.
func NewRun() *Run {
	load := "unknown"
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		load, _, _ = strings.Cut(string(text), " ")
	}
	return &Run{
		Began: time.Now(),
		Machine: fmt.Sprintf("%s, %d cores, %s, Go scheduler at %d, load %s",
			processor(), runtime.NumCPU(), runtime.Version(), runtime.GOMAXPROCS(0), load),
	}
}

// processor returns the name of the machine's processor.
func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}

	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		if strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}

	return runtime.GOARCH
}

// Turns has the sides do their work by turns, that many rounds. The first side is what
// the others are compared with.
func (r *Run) Turns(work string, rounds int, sides ...Side) error {
	for range rounds {
		for _, s := range sides {
			v, err := s.Do()
			if err != nil {
				return fmt.Errorf("%s, %s: %w", work, s.Name, err)
			}
			r.Add(work, s.Name, v)
		}
	}
	return nil
}

// Add adds what a round of a side gave.
func (r *Run) Add(work, side string, v Values) {
	units := make([]string, 0, len(v))
	for unit := range v {
		units = append(units, unit)
	}
	slices.SortFunc(units, compareUnits)

	for _, unit := range units {
		f := r.figure(work, unit, side)
		if f == nil {
			f = &Figure{
				Case: work,
				Unit: unit,
				Side: side,
			}
			r.Figures = append(r.Figures, f)
		}

		f.Rounds = append(f.Rounds, v[unit])
	}
}

// compareUnits puts rates first and the others in the order of their names.
func compareUnits(a, b string) int {
	if rate := strings.HasSuffix(a, PerSecond); rate != strings.HasSuffix(b, PerSecond) {
		if rate {
			return -1
		}
		return 1
	}
	return strings.Compare(a, b)
}

func (r *Run) figure(work, unit, side string) *Figure {
	for _, f := range r.Figures {
		if f.Case == work && f.Unit == unit && f.Side == side {
			return f
		}
	}
	return nil
}

// reference returns the figure of the first side that has one of that case and unit.
func (r *Run) reference(work, unit string) *Figure {
	for _, f := range r.Figures {
		if f.Case == work && f.Unit == unit {
			return f
		}
	}
	return nil
}

// Value returns the median of a figure; ok is false when it was not measured.
func (r *Run) Value(work, unit, side string) (v float64, ok bool) {
	f := r.figure(work, unit, side)
	if f == nil {
		return 0, false
	}
	return f.spread().Median, true
}

// Ratio returns how a figure of one side is beside that of another.
func (r *Run) Ratio(work, unit, side, of string) (s Spread, ok bool) {
	a := r.figure(work, unit, side)
	b := r.figure(work, unit, of)
	if a == nil || b == nil {
		return Spread{}, false
	}
	return a.over(b), true
}

// Goals sets goals, which Print compares with what was measured.
func (r *Run) Goals(goals ...Goal) {
	r.goals = append(r.goals, goals...)
}

// Spread is the median, the least and the greatest of some values.
type Spread struct{ Median, Least, Most float64 }

func spreadOf(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return Spread{
		Median: (sorted[(n-1)/2] + sorted[n/2]) / 2,
		Least:  sorted[0],
		Most:   sorted[n-1],
	}
}

func (f *Figure) spread() Spread { return spreadOf(f.Rounds) }

// over returns the ratio to another figure, round by round.
func (f *Figure) over(other *Figure) Spread {
	var ratios []float64
	for i := range min(len(f.Rounds), len(other.Rounds)) {
		if other.Rounds[i] != 0 {
			ratios = append(ratios, f.Rounds[i]/other.Rounds[i])
		}
	}
	return spreadOf(ratios)
}

func (s Spread) String() string {
	if s.Least == s.Most {
		return fmt.Sprintf("%.2f", s.Median)
	}
	return fmt.Sprintf("%.2f (%.2f-%.2f)", s.Median, s.Least, s.Most)
}
