// Command bulkbench measures bulk data: a load from NDJSON beside a bare Bolt file
// that is given the same rows, and an export to NDJSON beside a plain copy of the same
// bytes, and beside one out of the same store, with the memory that the export takes.
//
//	scripts/bench-bulk [-resources 10000,40000,100000] [-rounds 3] [-only load] [-json FILE] [-against FILE]
//
// The sides take turns in each round, and the figures are medians of the rounds.
// Absolute figures are worth little on a shared machine: read the ratios.
//
// All sides of an export write the same lines to the same file system, wait until they
// are on disk, and remove them. "copy of files" reads them from an NDJSON file in the
// page cache, 64 KiB at a time, which is less than any export can do: what it exports is
// in the store, in rows with index terms. "copy of store" reads these rows, verifies
// their checksums and writes the bodies: it is an export that decides nothing, and
// records and counts nothing. The export does all that a client's request makes it do,
// from the kick-off to the manifest: a decision on access about each resource, and about
// what each Provenance names; the Consents of each patient; an audit record of each
// patient, with its place in the chain and the index; and files by type.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"

	"fhirdest.example/scripts/measure"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("bulkbench", flag.ContinueOnError)
	fs.SetOutput(stderr)
	sizes := fs.String("resources", "10000,40000,100000", "sizes of the population, in resources")
	var o measure.Options
	o.Flags(fs, 3)
	profile := fs.String("cpuprofile", "", "start of the names of CPU profiles, one of each round")
	if err := fs.Parse(args); err != nil {
		return 2
	}

	r := measure.NewRun()
	for _, size := range strings.Split(*sizes, ",") {
		n, err := strconv.Atoi(size)
		if err == nil {
			err = compare(stdout, n, &contest{
				Run:     r,
				options: &o,
				profile: *profile,
			})
		}

		if err != nil {
			fmt.Fprintln(stderr, "bulkbench:", err)
			return 1
		}
	}

	if err := o.Finish(stdout, r); err != nil {
		fmt.Fprintln(stderr, "bulkbench:", err)
		return 1
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

func compare(out io.Writer, resources int, c *contest) error {
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

	c.count = p.count
	err = c.run("load",
		side{"bare bodies", p.bareBodies, false},
		side{"bare rows", p.bareRows, false},
		side{"load", p.load, true},
	)
	if err != nil {
		return err
	}

	p.rows = nil
	debug.FreeOSMemory() // that of the loads is no matter of the exports
	if err := p.open(); err != nil {
		return err
	}

	err = c.run("export",
		side{"copy of files", p.copyFiles, false},
		side{"copy of store", p.copyStore, false},
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

	c.Add(c.name("export, memory"), "export", measure.Values{
		"MB of heap":     float64(m.inUse) / (1 << 20),
		"MB live":        float64(m.live) / (1 << 20),
		"MB live before": float64(m.before) / (1 << 20),
	})

	return p.close()
}

// contest has sides do the same work in turns.
type contest struct {
	*measure.Run
	options *measure.Options
	count   int // resources
	profile string
}

// name is that of a case.
func (c *contest) name(work string) string {
	return fmt.Sprintf("%d resources: %s", c.count, work)
}

// run measures the sides, of which the last is ours.
func (c *contest) run(work string, sides ...side) error {
	if !c.options.Wants(work) {
		return sides[len(sides)-1].do() // what is measured next needs it
	}

	var turns []measure.Side
	for _, s := range sides {
		round := 0
		turns = append(turns, measure.Side{
			Name: s.name,
			Do: func() (measure.Values, error) {
				round++
				return timed(s, c.profile, round, c.count)
			},
		})

		if !s.ours {
			c.Goals(measure.Goal{
				Case:  c.name(work),
				Unit:  perCPU,
				Side:  sides[len(sides)-1].name,
				Of:    s.name,
				Least: goal,
			})
		}
	}

	return c.Turns(c.name(work), c.options.Rounds, turns...)
}

// perCPU is the unit of resources for each second of processor time.
const perCPU = "CPU/s"

// timed does one side, and writes the profile of one that is ours.
func timed(s side, profile string, round, count int) (v measure.Values, err error) {
	if profile != "" && s.ours {
		f, err := os.Create(fmt.Sprintf("%s.%s.%d", profile, s.name, round))
		if err != nil {
			return nil, err
		}
		defer f.Close()

		if err := pprof.StartCPUProfile(f); err != nil {
			return nil, err
		}
		defer pprof.StopCPUProfile()
	}

	runtime.GC() // what the side before left is no matter of this one
	start, before := time.Now(), measure.CPU()
	err = s.do()
	return measure.Values{
		measure.PerSecond: float64(count) / time.Since(start).Seconds(),
		perCPU:            float64(count) / (measure.CPU() - before).Seconds(),
	}, err
}
