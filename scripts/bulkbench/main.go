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
	"strconv"
	"strings"
	"time"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("bulkbench", flag.ContinueOnError)
	fs.SetOutput(stderr)
	sizes := fs.String("resources", "10000,100000", "sizes of the population, in resources")
	if err := fs.Parse(args); err != nil {
		return 2
	}

	for _, size := range strings.Split(*sizes, ",") {
		n, err := strconv.Atoi(size)
		if err == nil {
			err = measure(stdout, n)
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

func measure(out io.Writer, resources int) error {
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

	for _, side := range []struct {
		name string
		do   func() error
	}{
		{"bare Bolt, bodies only", p.bareBodies},
		{"bare Bolt, the same rows", p.bareRows},
		{"load", p.load},
		{"copy of the files", p.copyFiles},
		{"copy out of the store", p.copyStore},
		{"export", p.export},
	} {
		start := time.Now()
		if err := side.do(); err != nil {
			return fmt.Errorf("%s: %w", side.name, err)
		}
		p.took[side.name] = time.Since(start)
		fmt.Fprintf(out, "%-26s %8.0f resources/s\n", side.name, float64(p.count)/p.took[side.name].Seconds())
	}

	for _, r := range [][2]string{
		{"load", "bare Bolt, the same rows"},
		{"load", "bare Bolt, bodies only"},
		{"export", "copy out of the store"},
		{"export", "copy of the files"},
	} {
		ratio := p.took[r[1]].Seconds() / p.took[r[0]].Seconds()
		fmt.Fprintf(out, "%s beside %s: %.2f (goal %.1f)\n", r[0], r[1], ratio, goal)
	}

	fmt.Fprintf(out, "heap while exporting: at most %d MB\n", p.peak>>20)
	return nil
}
