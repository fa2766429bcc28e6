// Command tokenbench measures tokens, introspection and registrations over TLS
// against a server in a process of its own, in interleaved rounds with the same
// server with sync off, one without caches that makes a Bolt transaction for
// each request, and one that only reads the request and answers (the cost of
// net/http and TLS).
//
// CPU time is the kernel's count for the server's process. The floors of a token are the
// signature check alone, net/http with TLS, and the commit, in the same run. "Whole" is a
// destination as cmd/destination runs it, with framing, limits, metrics, log, decisions
// and audit records. "PostgreSQL" is the server on a PostgreSQL of its own, whose CPU time
// is not in the figures. -only has the names of the suites: oauth, bolt, server.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"runtime"

	"fhirdest.example/scripts/measure"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("tokenbench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var o measure.Options
	o.Flags(flags, 3)
	requests := flags.Int("requests", 1000, "requests of each benchmark")
	onPostgres := flags.Bool("postgres", false, "only tokens, on PostgreSQL beside Bolt")
	if flags.Parse(args) != nil {
		return 2
	}

	r := measure.NewRun()
	r.Goals(goals(*onPostgres)...)
	for range o.Rounds {
		round := benchmarks{}
		for _, suite := range suites(*requests, *onPostgres) {
			if !o.Wants(path.Base(suite.dir)) {
				continue
			}

			out, err := suite.run(stderr)
			if err == nil {
				err = round.read(out)
			}
			if err != nil {
				fmt.Fprintf(stderr, "tokenbench: %s: %v\n%s", suite.dir, err, out)
				return 1
			}
		}

		round.add(r)
	}

	if err := o.Finish(stdout, r); err != nil {
		fmt.Fprintln(stderr, "tokenbench:", err)
		return 1
	}
	return 0
}

// suite is one run of `go test -bench`.
type suite struct {
	dir, pattern string
	n            int
	args, env    []string
}

func suites(n int, onPostgres bool) []suite {
	if onPostgres {
		return []suite{{
			dir:     "./server/oauth",
			pattern: "Token/p256/32(-postgres)?$",
			n:       n,
		}}
	}

	return []suite{
		{
			dir:     "./server/oauth",
			pattern: "Token|Register|Introspect|Parts",
			n:       n,
		},
		{
			dir:     "./server/bolt",
			pattern: "TrustIssue/32$",
			n:       n,
		},
		{
			dir:     "./server",
			pattern: "Whole",
			n:       4 * n,
			args:    []string{"-cpu", fmt.Sprint(runtime.NumCPU() + 2)}, // as cmd/destination sets it
			env:     []string{"GOGC=400"},
		},
	}
}

func (s suite) run(stderr io.Writer) ([]byte, error) {
	args := append([]string{
		"test", "-run", "^$", "-bench", s.pattern, "-benchtime", fmt.Sprintf("%dx", s.n),
	},
		s.args...)
	cmd := exec.Command("go", append(args, s.dir)...)
	cmd.Env = append(os.Environ(), s.env...)
	var out bytes.Buffer
	cmd.Stdout = &out

	cmd.Stderr = stderr

	err := cmd.Run()
	return out.Bytes(), err
}
