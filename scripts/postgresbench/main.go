// Command postgresbench measures a FHIR service on PostgreSQL beside one on Bolt, by
// turns in one run on this machine, with a server of its own whose commits wait for the
// disk, and prints ratios against the project's goals.
//
//	scripts/bench-postgres [-resources 10000] [-seconds 2] [-rounds 3] [-only NAME] [-json FILE]
//
// The load comes from this process: raw keep-alive connections that write prepared
// requests. Load, service and database share the machine's cores, so figures are for
// comparison only. Processor time is that of all three.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"fhirdest.example/scripts/drive"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// options are what the command line asks for.
type options struct {
	sizes   []int
	length  time.Duration
	rounds  int
	only    string
	results string // file for the results as JSON; empty: none
}

func run(args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("postgresbench", flag.ContinueOnError)
	fs.SetOutput(stderr)
	var o options
	sizes := fs.String("resources", "10000", "sizes of the population, in resources")
	seconds := fs.Float64("seconds", 2, "length of one measurement")
	fs.IntVar(&o.rounds, "rounds", 3, "measurements of each side, by turns; the median counts")
	fs.StringVar(&o.only, "only", "", "one measurement only, by its name")
	fs.StringVar(&o.results, "json", "", "`FILE` for the results as JSON")
	if err := fs.Parse(args); err != nil {
		return 2
	}

	o.length = time.Duration(*seconds * float64(time.Second))
	for _, size := range strings.Split(*sizes, ",") {
		n, err := strconv.Atoi(size)
		if err != nil {
			fmt.Fprintln(stderr, "postgresbench:", err)
			return 2
		}
		o.sizes = append(o.sizes, n)
	}

	fmt.Fprintf(stdout, "%s %s/%s, %d cores, Go scheduler at %d\n", runtime.Version(), runtime.GOOS,
		runtime.GOARCH, runtime.NumCPU(), runtime.GOMAXPROCS(0))
	var all []result
	for _, size := range o.sizes {
		results, err := measure(context.Background(), stdout, size, o)
		if err != nil {
			fmt.Fprintln(stderr, "postgresbench:", err)
			return 1
		}
		all = append(all, results...)
	}

	if o.results == "" {
		return 0
	}
	text, err := json.MarshalIndent(all, "", "  ")
	if err == nil {
		err = os.WriteFile(o.results, append(text, '\n'), 0o644)
	}
	if err != nil {
		fmt.Fprintln(stderr, "postgresbench:", err)
		return 1
	}
	return 0
}

// measurement is one kind of request, as both sides get it.
type measurement struct {
	name    string
	clients int
	goal    float64 // of PostgreSQL over Bolt; 0 for none
	next    func(drive.Requests) []byte
}

func measurements() []measurement {
	return []measurement{
		{"read", 32, 0.6, drive.Requests.Read},
		{"search, 20 entries", 32, 0.5, drive.Requests.Search},
		{"create", 32, 0, drive.Requests.Create},
		{"transaction of 10", 8, 0, drive.Requests.Transaction},
	}
}

// result is what one measurement gave. Rates are per second, CPU is in microseconds
// a request.
type result struct {
	Name      string  `json:"name"`
	Resources int     `json:"resources"`
	Bolt      figures `json:"bolt"`
	Postgres  figures `json:"postgres"`
	Ratio     float64 `json:"ratio"` // of the rates
	Goal      float64 `json:"goal,omitempty"`
}

type figures struct {
	Rate float64 `json:"rate"`
	CPU  float64 `json:"cpu"`
}

// measure does every measurement at one size.
func measure(ctx context.Context, out io.Writer, resources int, o options) (all []result, err error) {
	e, err := newEnv(ctx, out, resources)
	defer e.close()
	if err != nil {
		return nil, err
	}

	fmt.Fprintf(out, "\n%d resources; CPU is of load, service and database, µs a request\n"+
		"%-20s %9s %9s %6s   %9s %9s %6s %5s\n", resources,
		"", "Bolt /s", "PG /s", "ratio", "Bolt CPU", "PG CPU", "ratio", "goal")
	for _, m := range measurements() {
		if o.only != "" && m.name != o.only {
			continue
		}

		r, err := e.turns(m, o)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
		r.Resources = resources
		r.print(out)
		all = append(all, r)
	}
	return all, e.sizes(ctx, out)
}

// turns measures both sides, by turns.
func (e *env) turns(m measurement, o options) (r result, err error) {
	var rates [2][]drive.Rate
	for range o.rounds {
		for i, addr := range []string{e.bolt, e.postgres} {
			rate, err := drive.Run(addr, m.clients, o.length, func() []byte {
				return m.next(drive.Requests{Patients: e.patients})
			}, e.cpu)
			if err != nil {
				return r, err
			}
			rates[i] = append(rates[i], rate)
		}
	}

	b, p := drive.Median(rates[0]), drive.Median(rates[1])
	return result{
		Name:     m.name,
		Bolt:     figures{b.PerSecond, b.CPU},
		Postgres: figures{p.PerSecond, p.CPU},
		Ratio:    p.PerSecond / b.PerSecond,
		Goal:     m.goal,
	}, nil
}

func (r result) print(out io.Writer) {
	goal := ""
	if r.Goal > 0 {
		goal = fmt.Sprintf("%.2f  met", r.Goal)
		if r.Ratio < r.Goal {
			goal = fmt.Sprintf("%.2f  below", r.Goal)
		}
	}
	fmt.Fprintf(out, "%-20s %9.0f %9.0f %6.2f   %9.0f %9.0f %6.2f %5s\n", r.Name,
		r.Bolt.Rate, r.Postgres.Rate, r.Ratio, r.Bolt.CPU, r.Postgres.CPU, r.Bolt.CPU/r.Postgres.CPU, goal)
}
