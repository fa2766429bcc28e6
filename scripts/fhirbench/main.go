// Command fhirbench measures the FHIR service against a bare gorilla/mux and
// Bolt handler that serves the same bytes with no checks, in the same run and
// by turns, and prints ratios against the project's goals.
//
//	scripts/bench-fhir [-resources 10000,100000] [-seconds 2] [-rounds 3]
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
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"

	"fhirdest.example/scripts/drive"
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
	rounds := fs.Int("rounds", 3, "measurements of each side, by turns; the median counts")
	only := fs.String("only", "", "one measurement only, by its name")
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

	fmt.Fprintf(stdout, "%s %s/%s, %d cores, Go scheduler at %d\n", runtime.Version(), runtime.GOOS,
		runtime.GOARCH,
		runtime.NumCPU(), runtime.GOMAXPROCS(0))

	for _, size := range strings.Split(*sizes, ",") {
		n, err := strconv.Atoi(size)
		if err == nil {
			err = measure(
				stdout,
				n,
				time.Duration(*seconds*float64(time.Second)),
				*rounds,
				*only,
			)
		}
		if err != nil {
			fmt.Fprintln(stderr, "fhirbench:", err)
			return 1
		}
	}

	return 0
}

// measurement is one kind of request, as both servers get it.
type measurement struct {
	name    string
	clients int
	goal    float64 // of ours over bare; 0 for none
	next    func(drive.Requests) []byte
}

func measurements() []measurement {
	return []measurement{
		{"read", 32, 0.6, drive.Requests.Read},
		{"search, 20 entries", 32, 0.55, drive.Requests.Search},
		{"create", 32, 0.6, drive.Requests.Create},
		{"transaction of 10", 8, 0, drive.Requests.Transaction},
	}
}

// measure runs every measurement at one size.
func measure(out io.Writer, resources int, d time.Duration, rounds int, only string) error {
	w, err := newEnv(out, resources)
	if err != nil {
		return err
	}
	defer w.close()

	fmt.Fprintf(out,
		"\n%d resources; CPU is of load and server together, µs a request\n%-20s %9s %9s %7s   %9s %9s %7s %6s\n",
		w.count, "", "bare /s", "ours /s", "ratio", "bare CPU", "ours CPU", "ratio", "goal")

	for _, m := range measurements() {
		if only != "" && m.name != only {
			continue
		}

		var bare, ours []drive.Rate
		for range rounds {
			b, err := drive.Run(w.bareAddr, m.clients, d, func() []byte {
				return m.next(drive.Requests{Patients: w.ids})
			}, nil)
			if err != nil {
				return fmt.Errorf("%s, bare: %w", m.name, err)
			}

			o, err := drive.Run(w.ourAddr, m.clients, d, func() []byte {
				return m.next(drive.Requests{
					Patients: w.ids,
					Auth:     true,
				})
			}, nil)
			if err != nil {
				return fmt.Errorf("%s, ours: %w", m.name, err)
			}
			bare, ours = append(bare, b), append(ours, o)
		}

		b, o := drive.Median(bare), drive.Median(ours)
		goal := ""
		verdict := ""
		if m.goal > 0 {
			goal = fmt.Sprintf("%.2f", m.goal)
			verdict = "  met"
			if o.PerSecond/b.PerSecond < m.goal {
				verdict = "  below"
			}
		}

		fmt.Fprintf(out, "%-20s %9.0f %9.0f %7.2f   %9.0f %9.0f %7.2f %6s%s\n", m.name,
			b.PerSecond, o.PerSecond, o.PerSecond/b.PerSecond, b.CPU, o.CPU, b.CPU/o.CPU, goal, verdict)
	}

	return nil
}
