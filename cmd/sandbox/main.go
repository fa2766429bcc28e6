// Command sandbox shows the whole of this project on one machine: it makes
// trust communities, starts a destination behind two gateways, drives an
// originator through it, and says of each claim whether it held.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"fhirdest.example/cmd/internal/proc"
	"fhirdest.example/cmd/internal/version"
	"fhirdest.example/gateway/complaint"
)

const usage = `usage: sandbox [flags]
       sandbox -version

Creates trust communities, TLS material and sample patients; starts a UDAP
destination behind an inbound gateway and a delegated intermediary; drives an
originator through discovery, registration, token, read, search, change and
cancel; prints each claim with its outcome; and stays up until interrupted.

  -once             exit after the demonstration
  -no-demo          start the actors without the demonstration; with -once, see
                    that all of them answer, and exit
  -separate         each actor as a program of its own, found beside this one
                    or built
  -dir DIR          keep everything in DIR and use it again (default: a
                    temporary directory, removed unless a claim failed)
  -use DIR          demonstrate against actors that already run; DIR holds
                    their sandbox.json
  -report FILE      write an HTML report of the demonstration
  -tamper           flip one byte in one relayed message; a claim must fail

  -host NAME        name in URLs and certificates (default localhost)
  -patients N       synthetic patients (default 25)
  -store STORE      bolt: files (default); postgres: a PostgreSQL server of the sandbox's
                    own, in DIR/postgres, and two destinations that share it; it is
                    started again when it ends by itself
  -public ADDRESS   inbound gateway       (default 127.0.0.1:8443)
  -delegate ADDRESS intermediary          (default 127.0.0.1:8444)
  -private ADDRESS  destination           (default 127.0.0.1:9443)
  -admin ADDRESS    its administration    (default 127.0.0.1:9480)
  -crl ADDRESS      lists' server         (default 127.0.0.1:9481)
  -idp ADDRESS      identity provider     (default 127.0.0.1:9445)
                    port 0 picks a free port

  -trust URI=ANCHOR.pem   also trust a community from outside; may be repeated
  -identity FILE.p12      our certificate in that community, whose SAN names the
                          public base URL; one for each -trust, in order
  -identity-password-file FILE   its first line opens them

Examples:
  sandbox -once
  sandbox -once -separate -report report.html
  sandbox -dir box
  sandbox -use box -once
  sandbox -once -tamper
  sandbox -dir box -trust urn:example:theirs=their-anchor.pem -identity ours.p12

Exit: 0 every claim held; 1 a claim failed or hops differ; 2 usage or
configuration. An interrupt after it is ready is 0.
`

// streams are where a run writes: claims to out, progress and errors to err.
type streams struct{ out, err io.Writer }

func main() {
	proc.EndWithParent()
	ctx, stop := signal.NotifyContext(
		context.Background(),
		os.Interrupt,
		syscall.SIGTERM,
		syscall.SIGHUP,
	)
	defer stop()
	// A reader that goes away (sandbox | head) must not end us before we have
	// stopped the actors and removed what we made.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	os.Exit(run(ctx, os.Args[1:], streams{os.Stdout, os.Stderr}, time.Now))
}

// errClaims says that a claim failed; which one has been printed.
var errClaims = errors.New("not every claim held")

// complained reports whether an error is a complaint about usage or configuration, for
// which the exit code is 2.
func complained(err error) bool {
	return errors.As(err, new(*complaint.Complaint)) || errors.As(
		err,
		new(interface{ Hint() string }),
	)
}

func run(ctx context.Context, args []string, s streams, now func() time.Time) int {
	if version.Asked(args) {
		version.Print(s.out, "sandbox")
		return 0
	}

	o, err := parseOptions(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(s.out, usage)
		return 0
	}

	if err == nil {
		err = sandbox(ctx, o, s, now)
	}

	switch {
	case err == nil:
		return 0
	case errors.Is(err, errClaims):
		return 1
	}

	complaint.Print(s.err, err)
	if complained(err) {
		return 2
	}
	return 1
}
