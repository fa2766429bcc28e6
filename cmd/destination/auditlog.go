package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/gateway/complaint"
	"fhirdest.example/server"
)

const auditUsage = `usage: destination audit verify -config FILE [-from DIR] [-checkpoint TEXT] [-json]

Verifies the audit record. Each record has the hash of the one before it, and the
hash of the last one is kept apart: a record that was altered, removed, inserted or
moved is found, also the last ones when they were cut off, and the place is printed.
Destinations that share a database have a chain each, and all are verified. Commits of
all form one more chain, so that a chain which was removed whole is found, too.

  -config FILE       the destination's configuration. A running destination verifies
                     its record itself, and is asked over its administration listener
  -from DIR          verify the record in a backup, or in another data directory
  -checkpoint TEXT   what an earlier verification printed as its checkpoint, N:HASH, or
                     NAME=N:HASH of each destination: these records must still be in
                     their chains. Whoever can replace the whole file can make a new
                     chain; a checkpoint kept elsewhere shows it
  -json              print the report as JSON

Records that were too old (audit.keep in the configuration) are gone, and the chain
begins with what is kept of them.

Examples:
  destination audit verify -config /etc/destination.yaml
  destination audit verify -config /etc/destination.yaml -from /backup/2026-01-31
Exit codes: 0 the record is intact; 1 it is not; 2 it cannot be verified, and why.
`

// auditOptions are the options of audit verify.
type auditOptions struct {
	config, from, checkpoint string
	json                     bool
}

// runAudit runs the command "audit".
func runAudit(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parseAudit(args, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}

	var report *server.AuditReport
	if err == nil {
		var cfg server.Config
		if cfg, err = read(o.config); err == nil {
			report, err = server.VerifyAudit(ctx, cfg, o.from, o.checkpoint)
		}
	}
	if err == nil && o.json {
		err = json.MarshalWrite(stdout, report, jsontext.WithIndent("  "))
		fmt.Fprintln(stdout)
	}
	if err != nil {
		complaint.Print(stderr, err)
		return 2
	}

	if !o.json {
		printAudit(stdout, report)
	}
	if !report.Intact {
		return 1
	}
	return 0
}

func parseAudit(args []string, stdout io.Writer) (auditOptions, error) {
	var o auditOptions
	f := flag.NewFlagSet("destination audit", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	f.StringVar(&o.config, "config", "", "")
	f.StringVar(&o.from, "from", "", "")
	f.StringVar(&o.checkpoint, "checkpoint", "", "")
	f.BoolVar(&o.json, "json", false, "")

	const remedy = "destination audit -h shows the options"
	verb := ""
	if len(args) > 0 && args[0] == "verify" {
		verb, args = args[0], args[1:]
	}
	err := f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, auditUsage)
		return o, err
	case err != nil:
		return o, complaint.New(err.Error(), remedy)
	case verb == "":
		return o, complaint.New("write destination audit verify", remedy)
	case f.NArg() > 0:
		return o, complaint.New(fmt.Sprintf("unexpected argument %q", f.Arg(0)), remedy)
	case o.config == "":
		return o, complaint.New("no configuration is named: -config FILE is missing", remedy)
	}
	return o, nil
}

// printAudit prints a report for people.
func printAudit(w io.Writer, r *server.AuditReport) {
	verdict := "intact"
	if !r.Intact {
		verdict = "NOT INTACT"
	}
	fmt.Fprintf(w, "%s: %d audit records", verdict, r.Records)
	if r.Records > 0 {
		fmt.Fprintf(w, ", AuditEvent/%s to AuditEvent/%s", r.First, r.Last)
	}
	fmt.Fprintln(w)
	if r.Removed > 0 {
		fmt.Fprintf(w, "removed as too old: %d before them\n", r.Removed)
	}

	for _, c := range r.Chains {
		fmt.Fprintf(w, "chain %s: %d audit records", cmp.Or(c.Name, "of a destination alone"), c.Records)
		if c.Records > 0 {
			fmt.Fprintf(w, ", AuditEvent/%s to AuditEvent/%s", c.First, c.Last)
		}
		fmt.Fprintln(w)
	}

	for _, f := range r.Findings {
		fmt.Fprintln(w, f)
	}
	if r.More > 0 {
		fmt.Fprintf(w, "and %d more\n", r.More)
	}
	if r.Checkpoint != "" {
		fmt.Fprintf(w, "checkpoint %s\n", r.Checkpoint)
	}
}
