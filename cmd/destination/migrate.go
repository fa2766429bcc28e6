package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"

	"fhirdest.example/gateway/complaint"
	"fhirdest.example/server"
)

const migrateUsage = `usage: destination migrate -config FILE

Makes the schemas of an empty PostgreSQL database (data: postgres://…), and brings
those of an earlier version of this program to the present one, all or not at all.
A destination does not start on a database whose schemas it does not know. Stop
the destinations of an earlier version first, and make a backup.

The account needs the right to create schemas in the database:
  create database destination owner destination

Example:
  destination migrate -config /etc/destination.yaml
Exit codes: 0 done, or nothing to do; 2 it cannot be done, and why.
`

// runMigrate runs migrate.
func runMigrate(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var config string
	f := flag.NewFlagSet("destination migrate", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	f.StringVar(&config, "config", "", "")
	err := f.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, migrateUsage)
		return 0
	}
	if err == nil && f.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if err == nil && config == "" {
		err = errors.New("no configuration is named: -config FILE is missing")
	}
	if err != nil {
		complaint.Print(stderr, complaint.New(err.Error(), "destination migrate -h shows the options"))
		return 2
	}

	if err := migrate(ctx, config, stdout); err != nil {
		complaint.Print(stderr, err)
		return 2
	}
	return 0
}

func migrate(ctx context.Context, config string, stdout io.Writer) error {
	cfg, err := read(config)
	if err != nil {
		return err
	}
	done, err := server.Migrate(ctx, cfg)
	if err != nil {
		return err
	}

	for _, m := range done {
		switch {
		case m.From == m.To:
			fmt.Fprintf(stdout, "schema %s: version %d, as it was\n", m.Schema, m.To)
		case m.From == 0:
			fmt.Fprintf(stdout, "schema %s: made, version %d\n", m.Schema, m.To)
		default:
			fmt.Fprintf(stdout, "schema %s: version %d, was %d\n", m.Schema, m.To, m.From)
		}
	}
	return nil
}
