// Command bulkbench measures bulk data: a load from NDJSON beside a bare Bolt file
// that is given the same rows, and an export to NDJSON beside a plain copy of the same
// bytes, and beside one out of the same store, with the memory that the export takes.
//
//	scripts/bench-bulk [-resources 10000,40000,100000] [-loads 3] [-exports 5]
//
// The sides take turns in each round, and the figures are medians of the rounds.
// Absolute figures are worth little on a shared machine: read the ratios.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("bulkbench", flag.ContinueOnError)
	fs.SetOutput(stderr)
	sizes := fs.String("resources", "10000,40000,100000", "sizes of the population, in resources")
	loads := fs.Int("loads", 3, "rounds of load")
	exports := fs.Int("exports", 5, "rounds of export")
	profile := fs.String("cpuprofile", "", "start of the names of CPU profiles, one of each round")
	if err := fs.Parse(args); err != nil {
		return 2
	}

	for _, size := range strings.Split(*sizes, ",") {
		n, err := strconv.Atoi(size)
		if err == nil {
			err = measure(stdout, n, max(1, *loads), max(1, *exports), *profile)
		}
		if err != nil {
			fmt.Fprintln(stderr, "bulkbench:", err)
			return 1
		}
	}

	return 0
}

// goal is the ratio that both are to reach.
const goal = 0.5

// side is one thing that is measured.
type side struct {
	name string
	do   func() error
	ours bool
}

// cost is what a side took.
type cost struct{ wall, cpu time.Duration }

func measure(out io.Writer, resources, loads, exports int, profile string) error {
	dir, err := os.MkdirTemp("", "bulkbench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	p, err := newPopulation(dir, resources)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%d resources, %d MB of NDJSON\n", p.count, p.bytes>>20)

	c := &contest{
		out:     out,
		count:   p.count,
		profile: profile,
	}
	err = c.run(loads,
		side{"bare Bolt, bodies only", p.bareBodies, false},
		side{"bare Bolt, the same rows", p.bareRows, false},
		side{"load", p.load, true},
	)
	if err != nil {
		return err
	}

	p.rows = nil // the memory of the other sides
	if err := p.open(); err != nil {
		return err
	}

	err = c.run(exports,
		side{"copy of the files", p.copyFiles, false},
		side{"copy out of the store", p.copyStore, false},
		side{"export", p.export, true},
	)
	if err != nil {
		return err
	}
	var m memory
	for _, collect := range []bool{false, true} {
		if err := m.weigh(p.export, collect); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "memory while exporting: %.1f MB of heap in use, at most; %.1f MB of it live\n",
		float64(m.inUse)/(1<<20), float64(m.live)/(1<<20))

	return p.close()
}

// contest has sides do the same work in turns.
type contest struct {
	out     io.Writer
	count   int // resources
	profile string
}

// run prints the rate of each side, and the ratios of the last one to the others.
func (c *contest) run(rounds int, sides ...side) error {
	took := make([][]cost, len(sides))
	for round := range rounds {
		for i, s := range sides {
			cost, err := timed(s, c.profile, round)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			took[i] = append(took[i], cost)
		}
	}

	for i, s := range sides {
		wall := median(rounds, func(r int) float64 { return took[i][r].wall.Seconds() })
		cpu := median(rounds, func(r int) float64 { return took[i][r].cpu.Seconds() })
		fmt.Fprintf(c.out, "%-26s %8.0f resources/s %8.0f for each s of CPU\n",
			s.name, float64(c.count)/wall, float64(c.count)/cpu)
	}

	last := len(sides) - 1
	for i, s := range sides[:last] {
		wall := median(rounds, func(r int) float64 {
			return took[i][r].wall.Seconds() / took[last][r].wall.Seconds()
		})
		cpu := median(rounds, func(r int) float64 {
			return took[i][r].cpu.Seconds() / took[last][r].cpu.Seconds()
		})
		fmt.Fprintf(c.out, "%s beside %s: %.2f, by CPU %.2f (goal %.1f)\n",
			sides[last].name, s.name, wall, cpu, goal)
	}

	return nil
}

// median returns the median of a figure that each round has.
func median(rounds int, figure func(round int) float64) float64 {
	all := make([]float64, rounds)
	for i := range all {
		all[i] = figure(i)
	}
	slices.Sort(all)
	return all[rounds/2]
}

// timed does one side, and writes the profile of one that is ours.
func timed(s side, profile string, round int) (c cost, err error) {
	if profile != "" && s.ours {
		f, err := os.Create(fmt.Sprintf("%s.%s.%d", profile, s.name, round))
		if err != nil {
			return c, err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return c, err
		}
		defer pprof.StopCPUProfile()
	}

	runtime.GC() // what the side before left is no matter of this one
	start, before := time.Now(), cpu()
	err = s.do()
	return cost{time.Since(start), cpu() - before}, err
}

// cpu is how much processor time this program has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
