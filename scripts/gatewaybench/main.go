// Command gatewaybench measures the gateway beside nginx and HAProxy, TLS on both
// sides, in interleaved runs; scripts/bench-gateway builds and starts it.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"fhirdest.example/scripts/measure"
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
	measure.Options
	gateway string
	time    time.Duration
	targets string
	before  string
}

func run() error {
	var o options
	o.Flags(flag.CommandLine, 3)
	flag.StringVar(&o.gateway, "gateway", "", "the gateway's binary")
	flag.DurationVar(&o.time, "time", 2*time.Second, "of each measurement")
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
		return o.targets != "" && !slices.Contains(strings.Split(o.targets, ","), t.name)
	})
	if o.Wants("fidelity") {
		h.fidelity()
	}

	r := measure.NewRun()
	for round := range o.Rounds {
		for _, m := range measurements {
			if !o.Wants(m.name) {
				continue
			}
			h.round(r, m, o.time)
			fmt.Fprintf(os.Stderr, "round %d: %s\n", round+1, m.name)
		}
	}

	r.Goals(goals(r)...)
	return o.Finish(os.Stdout, r)
}

// round has every target do one measurement.
func (h *env) round(r *measure.Run, m measurement, d time.Duration) {
	var direct measure.Values // what is reached without a target between
	for _, t := range h.targets {
		v := m.run(h, t, d)
		if t.name == "direct" {
			direct = v
		}

		for _, quantile := range []string{"p50", "p99"} {
			if base, ok := direct[quantile+" µs"]; ok && t.name != "direct" && v != nil {
				v["added "+quantile+" µs"] = v[quantile+" µs"] - base
			}
		}

		r.Add(m.title, t.name, v)
	}
}

// goals are those that the project has set itself, of what was measured.
func goals(r *measure.Run) (all []measure.Goal) {
	add := func(g measure.Goal) {
		_, measured := r.Value(g.Case, g.Unit, g.Side)
		if g.Of != "" {
			_, other := r.Value(g.Case, g.Unit, g.Of)
			measured = measured && other
		}
		if measured {
			all = append(all, g)
		}
	}

	for _, other := range []string{"nginx", "haproxy-http"} {
		add(measure.Goal{
			Case: load32,
			Unit: measure.CPUMicros,
			Side: "ours",
			Of:   other,
			Most: 0.65,
		})

		add(measure.Goal{
			Case: load32,
			Unit: measure.CPUMicros,
			Side: "ours+evidence",
			Of:   other,
			Most: 0.75,
		})

		add(measure.Goal{
			Case:  load32,
			Unit:  measure.PerSecond,
			Side:  "ours",
			Of:    other,
			Least: 1.2,
		})
	}

	add(measure.Goal{Case: load32, Unit: measure.PerSecond, Side: "ours", Of: "direct", Least: 0.5})
	add(measure.Goal{Case: load64K, Unit: megabytes, Side: "ours", Of: "haproxy-http", Least: 1})
	add(measure.Goal{
		Case:  load64K,
		Unit:  megabytes,
		Side:  "ours+evidence",
		Of:    "haproxy-http",
		Least: 0.85,
	})

	add(measure.Goal{
		Case:  connecting,
		Unit:  measure.PerSecond,
		Side:  "ours",
		Of:    "haproxy-tcp",
		Least: 1.3,
	})

	add(measure.Goal{Case: lowRate, Unit: "added p50 µs", Side: "ours", Most: 90})
	add(measure.Goal{Case: lowRate, Unit: "added p99 µs", Side: "ours", Most: 250})
	add(measure.Goal{Case: idling, Unit: "MB at start", Side: "ours", Most: 15})
	add(measure.Goal{Case: idling, Unit: "KB a client", Side: "ours", Most: 24})
	return all
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
