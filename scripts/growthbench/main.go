// Command growthbench measures what grows with a destination's population: destinations
// of several sizes run beside each other, each a program of its own, and answer the same
// requests by turns. scripts/bench-growth starts it.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"

	"fhirdest.example/scripts/measure"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// options are what the command line asks for.
type options struct {
	measure.Options
	registrations []int
	resources     []int
	program       string // the destination's binary
	dir           string // for the populations; empty: a temporary one
	onlySizes     bool
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	if err != nil {
		fmt.Fprintln(stderr, "growthbench:", err)
		return 2
	}

	o.printSizes(stdout)
	if o.onlySizes {
		return 0
	}

	r, err := bench(ctx, stderr, o)
	if err == nil {
		err = o.Finish(stdout, r)
	}
	if err != nil {
		fmt.Fprintln(stderr, "growthbench:", err)
		return 1
	}

	return 0
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	fs := flag.NewFlagSet("growthbench", flag.ContinueOnError)
	fs.SetOutput(stderr)
	o.Flags(fs, 5)
	registrations := fs.String("registrations", "1000,10000,100000,1000000", "sizes, each ten times the one before")
	resources := fs.String("resources", "10000,100000,1000000", "sizes, each ten times the one before")
	fs.StringVar(&o.program, "destination", "", "the destination's binary")
	fs.StringVar(&o.dir, "dir", "", "make the populations in `DIR`, or use those that are there, and keep them")
	fs.BoolVar(&o.onlySizes, "sizes", false, "print what the populations need, and end")
	if err := fs.Parse(args); err != nil {
		return o, err
	}

	if o.registrations, err = numbers(*registrations); err != nil {
		return o, err
	}

	o.resources, err = numbers(*resources)
	return o, err
}

func numbers(list string) (all []int, err error) {
	for text := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is no size of a population", text)
		}
		all = append(all, n)
	}
	return all, nil
}

// What one registration and one resource need, as measured.
const (
	registrationBytes = 4700
	resourceBytes     = 5400
	perSecond         = 3000 // made in a second, of either
)

// printSizes writes what the populations need.
func (o *options) printSizes(w io.Writer) {
	registrations, resources := sum(o.registrations), sum(o.resources)
	fmt.Fprintf(w, "registrations: %v; resources: %v\n", o.registrations, o.resources)
	fmt.Fprintf(w, "on disk: %.1f GB of registrations and %.1f GB of resources, removed at the end\n",
		float64(registrations)*registrationBytes/1e9, float64(resources)*resourceBytes/1e9)
	fmt.Fprintf(w, "made in some %d s by two free cores; each of %d rounds lasts a minute or two\n",
		(registrations+resources)/perSecond, o.Rounds)
}

func sum(list []int) (total int) {
	for _, n := range list {
		total += n
	}
	return total
}

// sides returns the number of destinations: each has a population of either kind, as far
// as there are sizes.
func (o *options) sides() int { return max(len(o.registrations), len(o.resources)) }
