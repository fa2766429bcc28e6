// Command destination runs a FHIR destination that decides by itself whom it
// trusts, configured by a YAML file.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/cmd/internal/probe"
	"fhirdest.example/cmd/internal/proc"
	"fhirdest.example/cmd/internal/version"
	"fhirdest.example/cmd/internal/yamlfile"
	"fhirdest.example/gateway/complaint"
	"fhirdest.example/server"
)

//go:embed example.yaml
var example string

const usage = `usage: destination -config FILE [-check | -probe] [-v]
       destination backup  -config FILE -to DIR
       destination restore -config FILE -from DIR [-yes]
       destination accept-time -config FILE
       destination migrate -config FILE
       destination audit verify -config FILE [-from DIR] [-json]
       destination user add|list|remove -config FILE [USERNAME]
       destination doctor -config FILE | URL...
       destination -example | -version

Runs a FHIR R4 destination with its own UDAP authorization server.

  -config FILE   the configuration, in YAML; paths in it start at its directory
  -check         print what is wrong with it, and exit without starting; a
                 destination with this configuration may be running
  -probe         ask the destination that runs with it whether it is ready, at
                 admin.health or admin.listen; exit 0 if it is
  -example       print a configuration to start from
  -version       print the version, and exit
  -v             log every decision's details and connection errors too

backup and restore also carry a destination from files to a database and back;
"destination restore -h" says what a restore means.
migrate makes and updates the tables of a PostgreSQL database (data: postgres://…).
accept-time is for after this machine's clock was ahead and was set back;
"destination accept-time -h" explains it. user changes the file of the people who
can sign in; see "destination user -h". doctor examines the TLS and the answers of a
running destination and its gateway from outside; see "destination doctor -h".

audit verify finds out whether the audit record is whole; see "destination audit -h".

Examples:
  destination -config sandbox/destination.yaml
  destination -config /etc/destination.yaml -check
  destination -example > destination.yaml
  destination backup -config /etc/destination.yaml -to /backup/2026-01-31

Signals: SIGINT and SIGTERM finish what is under way and exit 0; SIGHUP reads
the TLS certificate, the communities' anchors and intermediates, our own
certificates and the users again, which also happens by itself when their files
change. What
does not fit is logged, and what was read before stays in use.
Exit codes: 0 done; 1 it failed while running, or is not ready; 2 usage or configuration.
`

func main() {
	proc.EndWithParent()
	tune()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// options are those of the command line.
type options struct {
	config  string
	check   bool
	probe   bool
	example bool
	verbose bool
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if version.Asked(args) {
		version.Print(stdout, "destination")
		return 0
	}

	if len(args) > 0 && (args[0] == "backup" || args[0] == "restore" || args[0] == "accept-time") {
		return runBackup(ctx, args[0], args[1:], time.Now(), stdout, stderr)
	}
	if len(args) > 0 && args[0] == "migrate" {
		return runMigrate(ctx, args[1:], stdout, stderr)
	}
	if len(args) > 0 && args[0] == "audit" {
		return runAudit(ctx, args[1:], stdout, stderr)
	}
	if len(args) > 0 && args[0] == "load" {
		return runLoad(ctx, args[1:], stdout, stderr)
	}

	if len(args) > 0 && args[0] == "doctor" {
		return runDoctor(ctx, args[1:], stdout, stderr)
	}
	if len(args) > 0 && args[0] == "user" {
		return runUser(args[1:], os.Stdin, stdout, stderr)
	}

	o, err := parse(args, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		complaint.Print(stderr, err)
		return 2
	}
	if o.example {
		fmt.Fprint(stdout, example)
		return 0
	}

	cfg, err := read(o.config)
	if o.check || err != nil {
		return check(cfg, err, stdout, stderr)
	}
	if o.probe {
		return probe.Ready(ctx, stdout, stderr, cfg.Admin.Health, cfg.Admin.Listen)
	}
	return serve(ctx, cfg, o, stdout, stderr)
}

func parse(args []string, stdout io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("destination", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&o.config, "config", "", "")
	f.BoolVar(&o.check, "check", false, "")
	f.BoolVar(&o.probe, "probe", false, "")
	f.BoolVar(&o.example, "example", false, "")
	f.BoolVar(&o.verbose, "v", false, "")
	err := f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return o, err
	case err != nil:
		return o, complaint.New(
			err.Error(),
			"destination -h shows the options",
		)

	case f.NArg() > 0:
		return o, complaint.New(
			fmt.Sprintf("unexpected argument %q", f.Arg(0)),
			"destination -h shows the options",
		)

	case o.config == "" && !o.example:
		return o, complaint.New(
			"no configuration is named",
			"write destination -config FILE; destination -example prints one to start from",
		)
	}

	return o, nil
}

func read(path string) (server.Config, error) {
	cfg := server.Config{Dir: filepath.Dir(path)}
	err := yamlfile.Read(path, &cfg)
	return cfg, err
}

// check prints every complaint: those about the file's form, and, as far as it
// could be read, those about its values.
func check(cfg server.Config, form error, stdout, stderr io.Writer) int {
	err := form
	if cfg.Public != "" || form == nil {
		err = errors.Join(form, cfg.Check(time.Now()))
	}
	if err != nil {
		complaint.Print(stderr, err)
		return 2
	}

	for _, text := range cfg.Warnings(time.Now()) {
		fmt.Fprintf(stderr, "warning: %s\n", certs.Printable(text))
	}
	fmt.Fprintln(stdout, "ok")
	return 0
}

func serve(ctx context.Context, cfg server.Config, o options, stdout, stderr io.Writer) int {
	level := slog.LevelInfo
	if o.verbose {
		level = slog.LevelDebug
	}
	options := &slog.HandlerOptions{Level: level}
	log := slog.New(slog.NewTextHandler(stderr, options))
	if cfg.Log == "json" {
		log = slog.New(slog.NewJSONHandler(stderr, options))
	}

	s, err := server.New(cfg, server.Deps{
		Now:    time.Now,
		Log:    log,
		Reload: proc.Hangups(ctx),
	})
	if err != nil {
		complaint.Print(stderr, err)
		return 2
	}

	fmt.Fprintf(stdout, "ready: public base %s, listening on %s, console %s\n", cfg.Public, s.Addr(),
		s.AdminURL())
	if err := s.Run(ctx); err != nil {
		complaint.Print(stderr, err)
		return 1
	}

	return 0
}
