// Command gatewaybench measures the gateway beside nginx and HAProxy, TLS on both
// sides, in interleaved runs; scripts/bench-gateway builds and starts it.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "origin" {
		fmt.Fprintln(os.Stderr, runOrigin(os.Args[2], os.Args[3]))
		os.Exit(1)
	}
	if len(os.Args) > 1 && os.Args[1] == "relay" {
		fmt.Fprintln(os.Stderr, runRelay(os.Args[2], os.Args[3], os.Args[4]))
		os.Exit(1)
	}

	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "gatewaybench:", err)
		os.Exit(1)
	}
}

// options of a run.
type options struct {
	gateway string
	rounds  int
	time    time.Duration
	only    string
	targets string
	before  string
}

func run() error {
	var o options
	flag.StringVar(&o.gateway, "gateway", "", "the gateway's binary")
	flag.IntVar(&o.rounds, "rounds", 3, "interleaved rounds; medians are printed")
	flag.DurationVar(&o.time, "time", 2*time.Second, "of each measurement")
	flag.StringVar(&o.only, "only", "", "comma-separated measurements; empty: all")
	flag.StringVar(&o.targets, "targets", "", "comma-separated targets; empty: all")
	flag.StringVar(
		&o.before,
		"before",
		"",
		"another build of the gateway, to be compared with",
	)
	flag.Parse()

	dir, err := os.MkdirTemp("", "gatewaybench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	h, err := newEnv(dir, o.gateway, o.before)
	if err != nil {
		return err
	}
	defer h.stop()

	h.targets = slices.DeleteFunc(h.targets, func(t *target) bool {
		return !wanted(o.targets, t.name)
	})
	fmt.Printf("%s, %d processors, %s\n\n", cpuName(), runtime.NumCPU(), runtime.Version())
	if wanted(o.only, "fidelity") {
		h.fidelity()
	}
	results := map[string]map[string][]float64{}

	for round := range o.rounds {
		for _, m := range measurements {
			if !wanted(o.only, m.name) {
				continue
			}

			for _, t := range h.targets {
				for k, v := range m.run(h, t, o.time) {
					if results[k] == nil {
						results[k] = map[string][]float64{}
					}
					results[k][t.name] = append(results[k][t.name], v)
				}
			}

			fmt.Fprintf(os.Stderr, "round %d: %s\n", round+1, m.name)
		}
	}

	printTable(h, results)
	return nil
}

func wanted(only, name string) bool {
	return only == "" || slices.Contains(strings.Split(only, ","), name)
}

func cpuName() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for _, l := range strings.Split(string(b), "\n") {
		if name, ok := strings.CutPrefix(l, "model name"); ok {
			return strings.TrimLeft(name, "\t :")
		}
	}
	return "unknown processor"
}

// rows of the table, in order.
var rows = []string{"req/s, 32 clients", "CPU µs/request, 32 clients", "req/s, 256 clients",
	"CPU µs/request, 256 clients",
	"64 KiB, MB/s", "64 KiB, CPU µs", "10 MiB, MB/s", "added p50 µs", "added p99 µs", "new connections/s",
	"CPU ms/connection",
	"RSS at start MB", "KB per idle client", "RSS busy MB"}

func printTable(h *env, results map[string]map[string][]float64) {
	for _, l := range []string{"p50", "p99"} { // of latency, less the direct one
		base := median(results[l]["direct"])
		for t, v := range results[l] {
			if results["added "+l+" µs"] == nil {
				results["added "+l+" µs"] = map[string][]float64{}
			}
			results["added "+l+" µs"][t] = []float64{median(v) - base}
		}
	}

	fmt.Printf("%-28s", "")
	for _, t := range h.targets {
		fmt.Printf(" %14s", t.name)
	}

	fmt.Println()

	for _, r := range rows {
		if results[r] == nil {
			continue
		}

		fmt.Printf("%-28s", r)
		for _, t := range h.targets {
			fmt.Printf(" %14.1f", median(results[r][t.name]))
		}

		fmt.Println()
	}

	goals(results)
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// goals prints the ratios that the project has set itself.
func goals(r map[string]map[string][]float64) {
	get := func(row, target string) float64 {
		return median(r[row][target])
	}
	ratio := func(what, row, a, b string, most bool, goal float64) {
		x, y := get(row, a), get(row, b)
		if x == 0 || y == 0 {
			return
		}

		met := x/y >= goal
		rel := "at least"
		if most {
			met = x/y <= goal
			rel = "at most"
		}
		fmt.Printf("  %-52s %6.2f  (%s %.2f: %s)\n", what, x/y, rel, goal, map[bool]string{
			true:  "met",
			false: "MISSED",
		}[met])
	}

	fmt.Println("\nratios against the goals:")
	for _, other := range []string{"nginx", "haproxy-http"} {
		ratio("CPU per request, no evidence / "+other, rows[1], "ours", other, true, 0.65)
		ratio(
			"CPU per request, evidence / "+other,
			rows[1],
			"ours+evidence",
			other,
			true,
			0.75,
		)
		ratio(
			"requests per second, no evidence / "+other,
			rows[0],
			"ours",
			other,
			false,
			1.2,
		)
	}

	ratio(
		"requests per second, no evidence / direct",
		rows[0],
		"ours",
		"direct",
		false,
		0.5,
	)
	ratio(
		"64 KiB, no evidence / haproxy-http",
		rows[4],
		"ours",
		"haproxy-http",
		false,
		1.0,
	)
	ratio(
		"64 KiB, evidence / haproxy-http",
		rows[4],
		"ours+evidence",
		"haproxy-http",
		false,
		0.85,
	)
	ratio("new connections / haproxy-tcp", rows[9], "ours", "haproxy-tcp", false, 1.3)

	for _, l := range []struct {
		row  string
		most float64
	}{{rows[7], 90}, {rows[8], 250}, {rows[11], 15}, {rows[12], 24}} {
		if v := get(l.row, "ours"); v != 0 {
			fmt.Printf("  %-52s %6.1f  (at most %.0f: %s)\n", l.row, v, l.most, map[bool]string{
				true:  "met",
				false: "MISSED",
			}[v <= l.most])
		}
	}
}

// start starts a program that ends with this one.
func start(name string, args ...string) (*exec.Cmd, error) {
	c := exec.Command(name, args...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if os.Getenv("BENCH_VERBOSE") != "" {
		c.Stderr = os.Stderr
	}
	return c, c.Start()
}
