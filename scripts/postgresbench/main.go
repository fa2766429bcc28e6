// Command postgresbench measures a FHIR service on PostgreSQL beside one on Bolt, by
// turns in one run on this machine, with a server of its own whose commits wait for the
// disk, and prints ratios against the project's goals.
//
//	scripts/bench-postgres [-resources 10000] [-seconds 2] [-rounds 3] [-only NAMES]
//		[-json FILE] [-against FILE]
//
// The load comes from this process: raw keep-alive connections that write prepared
// requests. Load, service and database share the machine's cores, so figures are for
// comparison only. Processor time is that of all three.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"fhirdest.example/scripts/drive"
	"fhirdest.example/scripts/measure"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("postgresbench", flag.ContinueOnError)
	fs.SetOutput(stderr)
	var o measure.Options
	o.Flags(fs, 3)
	sizes := fs.String("resources", "10000", "sizes of the population, in resources")
	seconds := fs.Float64("seconds", 2, "length of one measurement")
	if err := fs.Parse(args); err != nil {
		return 2
	}

	r := measure.NewRun()
	for _, size := range strings.Split(*sizes, ",") {
		n, err := strconv.Atoi(size)
		if err == nil {
			err = compare(context.Background(), stdout, r, &o, n, time.Duration(*seconds*float64(time.Second)))
		}
		if err != nil {
			fmt.Fprintln(stderr, "postgresbench:", err)
			return 1
		}
	}

	if err := o.Finish(stdout, r); err != nil {
		fmt.Fprintln(stderr, "postgresbench:", err)
		return 1
	}
	return 0
}

// goals are the ratios of the rates, PostgreSQL's beside Bolt's.
var goals = map[string]float64{
	"read":         0.6,
	"search of 20": 0.5,
}

// compare measures both sides at one size.
func compare(
	ctx context.Context, out io.Writer, r *measure.Run, o *measure.Options, resources int, d time.Duration,
) error {
	e, err := newEnv(ctx, out, resources)
	defer e.close()
	if err != nil {
		return err
	}

	prefix := fmt.Sprintf("%d resources: ", resources)
	drive.Goals(r, o, prefix, "PostgreSQL", "Bolt", goals)

	requests := drive.Requests{Patients: e.patients}
	servers := []drive.Server{
		{
			Name:     "Bolt",
			Address:  e.bolt,
			Requests: requests,
			CPU:      e.cpu,
		},
		{
			Name:     "PostgreSQL",
			Address:  e.postgres,
			Requests: requests,
			CPU:      e.cpu,
		},
	}

	if err := drive.Turns(r, o, d, prefix, servers...); err != nil {
		return err
	}
	if err := compareFurther(ctx, r, o, prefix, d, servers); err != nil {
		return err
	}

	return e.sizes(ctx, out)
}
