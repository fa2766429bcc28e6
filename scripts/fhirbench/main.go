// Command fhirbench measures the FHIR service against a bare gorilla/mux and
// Bolt handler that serves the same bytes with no checks, in the same run and
// by turns, and prints ratios against the project's goals.
//
//	scripts/bench-fhir [-resources 10000,100000] [-seconds 2] [-rounds 3] [-json FILE] [-against FILE]
//
// The load comes from this process: raw keep-alive connections that write
// prepared requests and read answers by their Content-Length. Server and load
// share the machine's cores, so figures are for comparison only.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
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
	fs := flag.NewFlagSet("fhirbench", flag.ContinueOnError)
	fs.SetOutput(stderr)
	sizes := fs.String(
		"resources",
		"10000,100000",
		"sizes of the population, in resources",
	)

	seconds := fs.Float64("seconds", 2, "length of one measurement")
	var o measure.Options
	o.Flags(fs, 3)
	profile := fs.String("cpuprofile", "", "file for a CPU profile of the whole run")
	if err := fs.Parse(args); err != nil {
		return 2
	}

	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			fmt.Fprintln(stderr, "fhirbench:", err)
			return 2
		}
		defer f.Close()

		if err := pprof.StartCPUProfile(f); err != nil {
			fmt.Fprintln(stderr, "fhirbench:", err)
			return 2
		}
		defer pprof.StopCPUProfile()
	}

	r := measure.NewRun()
	for _, size := range strings.Split(*sizes, ",") {
		n, err := strconv.Atoi(size)
		if err == nil {
			err = compare(stdout, r, &o, n, time.Duration(*seconds*float64(time.Second)))
		}
		if err != nil {
			fmt.Fprintln(stderr, "fhirbench:", err)
			return 1
		}
	}

	if err := o.Finish(stdout, r); err != nil {
		fmt.Fprintln(stderr, "fhirbench:", err)
		return 1
	}
	return 0
}

// goals are the ratios of the rates, ours beside the bare handler's.
var goals = map[string]float64{
	"read":         0.6,
	"search of 20": 0.55,
	"create":       0.6,
}

// compare measures both sides at one size.
func compare(out io.Writer, r *measure.Run, o *measure.Options, resources int, d time.Duration) error {
	w, err := newEnv(out, resources)
	if err != nil {
		return err
	}
	defer w.close()

	prefix := fmt.Sprintf("%d resources: ", resources)
	drive.Goals(r, o, prefix, "ours", "bare", goals)

	return drive.Turns(r, o, d, prefix,
		drive.Server{
			Name:     "bare",
			Address:  w.bareAddr,
			Requests: drive.Requests{Patients: w.ids},
		},
		drive.Server{
			Name:    "ours",
			Address: w.ourAddr,
			Requests: drive.Requests{
				Patients: w.ids,
				Token:    drive.Token,
			},
		})
}
