package measure

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// example is a run of two sides, three rounds each.
func example(t *testing.T, factor float64) *Run {
	r := NewRun()
	bare := []float64{100, 120, 90}
	ours := []float64{50, 90, 54}
	next := func(values *[]float64) func() (Values, error) {
		return func() (Values, error) {
			v := (*values)[0] * factor
			*values = (*values)[1:]
			return Values{
				CPUMicros: 1e6 / v,
				PerSecond: v,
			}, nil
		}
	}

	err := r.Turns("read", 3,
		Side{"bare", next(&bare)},
		Side{"ours", next(&ours)})
	if err != nil {
		t.Fatal(err)
	}

	return r
}

func TestFiguresAreMediansOfTheRounds(t *testing.T) {
	r := example(t, 1)
	if v, ok := r.Value("read", PerSecond, "bare"); !ok || v != 100 {
		t.Errorf("median %v", v)
	}

	s, ok := r.Ratio("read", PerSecond, "ours", "bare")
	if want := (Spread{0.6, 0.5, 0.75}); !ok || s != want {
		t.Errorf("ratio %v, want %v", s, want)
	}
	if _, ok := r.Ratio("read", PerSecond, "ours", "theirs"); ok {
		t.Error("a side that was not measured has a ratio")
	}
}

func TestMedianOfAnEvenNumber(t *testing.T) {
	if s := spreadOf([]float64{4, 1, 2, 8}); s != (Spread{3, 1, 8}) {
		t.Errorf("%v", s)
	}
	if s := spreadOf(nil); s != (Spread{}) {
		t.Errorf("%v", s)
	}
}

func TestSidesTakeTurns(t *testing.T) {
	var order []string
	side := func(name string) Side {
		return Side{name, func() (Values, error) {
			order = append(order, name)
			return Values{PerSecond: 1}, nil
		}}
	}
	if err := new(Run).Turns("read", 2, side("a"), side("b")); err != nil {
		t.Fatal(err)
	}

	if got := strings.Join(order, " "); got != "a b a b" {
		t.Errorf("order %q", got)
	}

	broken := errors.New("broken")
	err := new(Run).Turns("read", 2, Side{"a", func() (Values, error) { return nil, broken }})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "read, a") {
		t.Errorf("error %v", err)
	}
}

func TestGoals(t *testing.T) {
	for _, c := range []struct {
		name string
		goal Goal
		want string
	}{
		{"above a least", Goal{"read", PerSecond, "ours", "bare", 0.6, 0}, "met"},
		{"below a least", Goal{"read", PerSecond, "ours", "bare", 0.61, 0}, "MISSED"},
		{"below a most", Goal{"read", PerSecond, "ours", "", 0, 60}, "met"},
		{"above a most", Goal{"read", PerSecond, "ours", "", 0, 50}, "MISSED"},
		{"not measured", Goal{"search", PerSecond, "ours", "bare", 0, 2}, "MISSED"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := example(t, 1)
			r.Goals(c.goal)
			var out bytes.Buffer
			missed := r.Print(&out)
			if (missed == 0) != (c.want == "met") || !strings.HasSuffix(out.String(), c.want+"\n") {
				t.Errorf("%d missed:\n%s", missed, &out)
			}
		})
	}
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	example(t, 1).Print(&out)
	for _, want := range []string{
		"                                    /s             of bare      CPU µs             of bare\n",
		"  bare                             100                           10000\n",
		"  ours                            54.0    0.60 (0.50-0.75)       18519    1.67 (1.33-2.00)\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}

func TestComparisonWithAnEarlierRun(t *testing.T) {
	dir := t.TempDir()
	o := &Options{}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	o.Flags(fs, 5)
	if err := fs.Parse([]string{"-json", filepath.Join(dir, "then")}); err != nil || o.Rounds != 5 {
		t.Fatal(err, o)
	}
	var out bytes.Buffer
	if err := o.Finish(&out, example(t, 1)); err != nil {
		t.Fatal(err)
	}

	// a machine that is twice as fast
	now := Options{Against: o.JSON}
	out.Reset()
	if err := now.Finish(&out, example(t, 2)); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String()[strings.Index(out.String(), "against the run"):], "\n")

	for i, want := range []string{"2.00  200 / 100  (the figure itself)", "0.50  5000 / 10000  (the figure itself)",
		"1.00  0.60 / 0.60", "1.00  1.67 / 1.67"} {
		if !strings.HasSuffix(lines[2+i], want) {
			t.Errorf("line %q, want %q", lines[2+i], want)
		}
	}

	now.Against = filepath.Join(dir, "none")
	if err := now.Finish(&out, example(t, 1)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

func TestWanted(t *testing.T) {
	o := Options{Only: "rea,create"}
	if !o.Wants("read") || !o.Wants("create") || o.Wants("search") || !new(Options).Wants("search") {
		t.Error("other measurements are made than those asked for")
	}
}

// TestKernelCountsOtherProcesses has a child of a child use the processor.
func TestKernelCountsOtherProcesses(t *testing.T) {
	c := exec.Command("sh", "-c", `sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo done; read x'; true`)
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}

	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 5)); err != nil {
		t.Fatal(err)
	}

	if used := CPUOf(c.Process.Pid); used < 2*tick {
		t.Errorf("CPU %v", used)
	}
	if m := MemoryOf(c.Process.Pid); m.Resident < 1<<16 || m.Anonymous > m.Resident {
		t.Errorf("memory %+v", m)
	}
	if err := errors.Join(in.Close(), c.Wait()); err != nil {
		t.Error(err)
	}

	if used := CPUOf(c.Process.Pid); used != 0 {
		t.Errorf("a process that has ended has used %v", used)
	}
}

func TestOwnCPU(t *testing.T) {
	before := CPU()
	for began := time.Now(); CPU() == before; {
		if time.Since(began) > time.Minute {
			t.Fatal("no time was counted")
		}
	}
}
