// Command gateway passes HTTP/1.1 between TLS connections byte for byte, as a YAML
// file directs, and compares the evidence of hops.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"fhirdest.example/cmd/internal/gatewayd"
	"fhirdest.example/cmd/internal/probe"
	"fhirdest.example/cmd/internal/proc"
	"fhirdest.example/cmd/internal/version"
	"fhirdest.example/gateway/complaint"
	"fhirdest.example/gateway/evidence"
)

const usage = `usage: gateway [serve] -config FILE [-check | -probe]
       gateway -example | -version
       gateway compare [-json] [-hops NAMES] A B [C ...]

Passes requests and answers byte for byte between TLS connections, by host and
path, and writes one line of evidence for each message.

  -config FILE   the configuration, in YAML; paths in it start at its directory
  -check         report what is wrong with it and what may be, and exit without
                 starting; ports and files that a running gateway uses are right
  -probe         ask the gateway that runs with it whether it is ready, at
                 admin.health or admin.listen; exit 0 if it is
  -example       print a configuration to begin with
  -version       print the version, and exit

compare reads the evidence files of the hops of one path and prints, for each
message, whether it was identical at every hop, or the first where it differs.
It pairs whole exchanges, and holds connections, order and times of the hops to
each other. Name the files from originator to destination; those two are
recognised, and may have several files each.

  -json          print one JSON object in place of the table
  -hops NAMES    the hops, separated by commas and in order, that every exchange
                 must have passed; without it, a message that only originator
                 and destination have is straight, and no difference

Examples:
  gateway -config sandbox/gateway.yaml
  gateway compare originator.jsonl gateway.jsonl delegate.jsonl destination.jsonl
  gateway compare -hops originator,gateway,destination o.jsonl g.jsonl d.jsonl

HTTP/1.0 is answered 505, as its client cannot tell a cut answer from a whole one.
A load balancer in front needs one line for its health check:
  HAProxy   http-check send meth GET uri /health ver HTTP/1.1 hdr Host localhost
  nginx     proxy_http_version 1.1;
The address to check is admin.health, or a path of a route with its public Host.

Signals: SIGINT and SIGTERM finish what is under way and exit 0, and a second one
ends it at once; SIGHUP reads the configuration and the certificates again, which
also happens by itself when their files change.
Exit codes: 0 done, or nothing differs; 1 it failed while running, or something
differs; 2 usage or configuration.
`

func main() {
	proc.EndWithParent()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)     // so that a second signal ends the process
	tune(context.WithoutCancel(ctx)) // the drain has its load, too
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if version.Asked(args) {
		version.Print(stdout, "gateway")
		return 0
	}

	if len(args) > 0 && args[0] == "compare" {
		return compare(args[1:], stdout, stderr)
	}

	if len(args) > 0 && args[0] == "serve" {
		args = args[1:]
	}
	f := flag.NewFlagSet("gateway", flag.ContinueOnError)
	config, check := f.String("config", "", ""), f.Bool("check", false, "")
	example, ask := f.Bool("example", false, ""), f.Bool("probe", false, "")
	if code, done := parse(f, args, stdout, stderr); done {
		return code
	}

	switch {
	case f.NArg() > 0:
		return misused(
			stderr,
			fmt.Sprintf("unexpected argument %q", f.Arg(0)),
			"gateway -h shows the options",
		)
	case *example:
		fmt.Fprint(stdout, gatewayd.Example)
		return 0
	case *config == "":
		return misused(stderr, "no configuration is named",
			"write gateway -config FILE; gateway -example prints one")

	case *check:
		return checkOnly(*config, stdout, stderr)

	case *ask:
		return probeOnly(ctx, *config, stdout, stderr)
	}

	return serve(ctx, *config, stdout, stderr)
}

// parse parses the options; done means that there is nothing more to do.
func parse(f *flag.FlagSet, args []string, stdout, stderr io.Writer) (code int, done bool) {
	f.SetOutput(io.Discard)
	err := f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return 0, true
	case err != nil:
		return misused(stderr, err.Error(), "gateway -h shows the options"), true
	}

	return 0, false
}

func misused(stderr io.Writer, problem, remedy string) int {
	complaint.Print(stderr, complaint.New(problem, remedy))
	return 2
}

func checkOnly(path string, stdout, stderr io.Writer) int {
	warnings, err := gatewayd.Check(path)
	if err != nil {
		complaint.Print(stderr, err)
		return 2
	}

	for _, w := range warnings {
		fmt.Fprintf(stderr, "warning: %s\n", w)
	}

	fmt.Fprintln(stdout, "ok")
	return 0
}

func probeOnly(ctx context.Context, path string, stdout, stderr io.Writer) int {
	c, err := gatewayd.Read(path)
	if err != nil {
		complaint.Print(stderr, err)
		return 2
	}
	return probe.Ready(ctx, stdout, stderr, c.Admin.Health, c.Admin.Listen)
}

func serve(ctx context.Context, path string, stdout, stderr io.Writer) int {
	c, err := gatewayd.Read(path)
	if err != nil {
		complaint.Print(stderr, err)
		return 2
	}

	s, err := gatewayd.New(path, slog.New(c.LogHandler(stderr)), time.Now)
	if err != nil {
		complaint.Print(stderr, err)
		return 2
	}

	l, err := s.Listen()
	if err != nil {
		complaint.Print(stderr, err)
		return 2
	}

	limitMemory(s.Memory())
	s.Hangup = proc.Hangups(ctx)
	fmt.Fprintf(stdout, "ready: listening on %s\n", l.Addr())
	if err := s.Serve(ctx, l); err != nil {
		complaint.Print(stderr, err)
		return 1
	}

	return 0
}

func compare(args []string, stdout, stderr io.Writer) int {
	f := flag.NewFlagSet("gateway compare", flag.ContinueOnError)
	asJSON, hops := f.Bool("json", false, ""), f.String("hops", "", "")
	if code, done := parse(f, args, stdout, stderr); done {
		return code
	}
	if f.NArg() < 2 {
		return misused(
			stderr,
			"two evidence files at least are compared",
			"write gateway compare A B",
		)
	}

	path := evidence.Path{Files: f.Args()}
	if *hops != "" {
		path.Hops = strings.Split(*hops, ",")
	}
	code, err := path.Report(stdout, *asJSON)
	if err != nil {
		return misused(
			stderr,
			err.Error(),
			"name files that gateway, destination or originator have written",
		)
	}

	return code
}
