// Command bulkbench measures bulk data: a load from NDJSON beside a bare Bolt file
// that is given the same rows, and an export to NDJSON beside a plain copy of the same
// bytes out of the same file, in one run, with the memory that the export takes.
//
//	scripts/bench-bulk [-resources 10000,100000]
//
// Absolute figures are worth little on a shared machine: read the ratios.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("bulkbench", flag.ContinueOnError)
	fs.SetOutput(stderr)
	sizes := fs.String("resources", "10000,100000", "sizes of the population, in resources")
	profile := fs.String("cpuprofile", "", "file for CPU profiles; \".load\" and \".export\" are appended")
	if err := fs.Parse(args); err != nil {
		return 2
	}

	for _, size := range strings.Split(*sizes, ",") {
		n, err := strconv.Atoi(size)
		if err == nil {
			err = measure(stdout, n, *profile)
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

func measure(out io.Writer, resources int, profile string) error {
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

	took := map[string]cost{}
	for _, s := range []side{
		{"bare Bolt, bodies only", p.bareBodies, false},
		{"bare Bolt, the same rows", p.bareRows, false},
		{"load", p.load, true},
		{"copy of the files", p.copyFiles, false},
		{"copy out of the store", p.copyStore, false},
		{"export", p.export, true},
	} {
		c, err := timed(s, profile)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		took[s.name] = c
		fmt.Fprintf(out, "%-26s %8.0f resources/s %8.0f for each s of CPU\n", s.name,
			float64(p.count)/c.wall.Seconds(), float64(p.count)/c.cpu.Seconds())
	}

	for _, r := range [][2]string{
		{"load", "bare Bolt, the same rows"},
		{"load", "bare Bolt, bodies only"},
		{"export", "copy out of the store"},
		{"export", "copy of the files"},
	} {
		ours, bare := took[r[0]], took[r[1]]
		fmt.Fprintf(out, "%s beside %s: %.2f, by CPU %.2f (goal %.1f)\n", r[0], r[1],
			bare.wall.Seconds()/ours.wall.Seconds(), bare.cpu.Seconds()/ours.cpu.Seconds(), goal)
	}
	fmt.Fprintf(out, "heap while exporting: at most %d MB\n", p.peak>>20)
	return nil
}

// timed does one side, and writes the profile of one that is ours.
func timed(s side, profile string) (c cost, err error) {
	if profile != "" && s.ours {
		f, err := os.Create(profile + "." + s.name)
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
