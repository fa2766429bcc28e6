package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/cmd/internal/progress"
	"fhirdest.example/gateway/complaint"
	"fhirdest.example/server"
	"fhirdest.example/server/carry"
)

const backupUsage = `usage: destination backup -config FILE -to DIR

Copies what a destination keeps into DIR, which must be new or empty, checks
every page of the copies, and describes them in DIR/backup.json: version, public
base URL, sizes and SHA-256. A backup is trust.bolt, fhir.bolt and, if the
destination makes the keys of its ID tokens itself, id-token-keys.pem. It holds
registrations, health data and these private keys: keep it as you keep the data
directory. Configuration and the other keys are not in it, nor is work in the
background, whose clients ask for it again.

A destination with files (data: DIR) must be stopped. One on a database (data:
postgres://…) may run, as may the others on it: the backup is of one moment. The
database's rows are written to the same files, are read again and compared, and
the audit record is verified. It leaves out tokens, grants and sessions, which no
restore brings back.

Example:
  destination backup -config /etc/destination.yaml -to /backup/2026-01-31
Exit codes: 0 done; 2 it cannot be done, and why.
`

const restoreUsage = `usage: destination restore -config FILE -from DIR [-yes]

Checks a backup: its description, sizes, digests, every page, and that it is of
this destination. With -yes it then puts the copies in the place of the files
of the data directory, which stay beside them as NAME.replaced-TIME, or their
rows in the place of those in the database, whose schemas stay as
SCHEMA_replaced_TIME: all or nothing. A backup of either is restored into either.
Without -yes nothing is changed. The destination must be stopped, and all others
on its database. The audit record gets a record of it.

A backup does not know what happened after it was made:
  - A JWT used since then must not work again. The restored destination refuses
    every software statement and authentication token whose iat is not later
    than the restore by the clock skew (60 s, or as the community's policy
    says): for that long after a restore every client is refused, and told so.
  - A token revoked since then must not work again. The restored destination
    has no tokens; clients ask for new ones.
  - Registrations changed or cancelled since then are as they were.
Copying trust.bolt by hand does none of this: do not.

Examples:
  destination restore -config /etc/destination.yaml -from /backup/2026-01-31
  destination restore -config /etc/destination.yaml -from /backup/2026-01-31 -yes
Exit codes: 0 done; 2 it cannot be done, and why.
`

const acceptUsage = `usage: destination accept-time -config FILE

Has a stopped destination, or those on a database, go on from the present time,
after the clock of a machine was ahead and was set back. Until then it answers registrations and
requests for tokens with 503 temporarily_unavailable: it has forgotten the used
JWTs of the present time and could not recognise one that is sent again. Check
that the clock is right first.

A JWT used before must not work again. So the destination then refuses every
software statement and authentication token whose iat is not later than this
command by the clock skew (60 s, or as the community's policy says). Clients
that had wrong clocks themselves, and sent JWTs dated ahead, must not have
their clocks set ahead again.

Example:
  destination accept-time -config /etc/destination.yaml
Exit codes: 0 done, or nothing to do; 2 it cannot be done, and why.
`

// backupOptions are the options of backup and restore.
type backupOptions struct {
	config, dir string
	yes         bool
}

// runBackup runs backup or restore.
func runBackup(ctx context.Context, command string, args []string, now time.Time, stdout, stderr io.Writer) int {
	o, err := parseBackup(command, args, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}

	var cfg server.Config
	if err == nil {
		cfg, err = read(o.config)
	}

	switch {
	case err != nil:
	case command == "backup":
		err = backup(ctx, cfg, o.dir, now, stdout, stderr)
	case command == "accept-time":
		err = acceptTime(ctx, cfg, now, stdout)
	default:
		err = restore(ctx, cfg, o, now, stdout, stderr)
	}

	if err != nil {
		complaint.Print(stderr, err)
		return 2
	}
	return 0
}

func parseBackup(command string, args []string, stdout io.Writer) (backupOptions, error) {
	var o backupOptions
	dirFlag := "to"
	text := backupUsage
	if command == "accept-time" {
		dirFlag = ""
		text = acceptUsage
	}
	f := flag.NewFlagSet("destination "+command, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {}

	f.StringVar(&o.config, "config", "", "")
	if command == "restore" {
		dirFlag = "from"
		text = restoreUsage
		f.BoolVar(&o.yes, "yes", false, "")
	}

	if dirFlag != "" {
		f.StringVar(&o.dir, dirFlag, "", "")
	}
	err := f.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, text)
		return o, err
	}

	remedy := "destination " + command + " -h shows the options"
	var errs []error
	complain := func(problem string) {
		errs = append(errs, complaint.New(problem, remedy))
	}
	if err != nil {
		complain(err.Error())
		return o, errors.Join(errs...)
	}

	if f.NArg() > 0 {
		complain(fmt.Sprintf("unexpected argument %q", f.Arg(0)))
	}
	if o.config == "" {
		complain("no configuration is named: -config FILE is missing")
	}
	if dirFlag != "" && o.dir == "" {
		complain("no directory is named: -" + dirFlag + " DIR is missing")
	}

	return o, errors.Join(errs...)
}

// rowsProgress shows the progress of copying rows from or to a database.
type rowsProgress struct {
	bar   *progress.Bar
	done  int64
	shown bool
}

func newRowsProgress(w io.Writer, command string) *rowsProgress {
	return &rowsProgress{bar: progress.New(w, command)}
}

func (p *rowsProgress) show(k carry.Kind, done, all int64) {
	p.shown = true
	p.done = done
	p.bar.Show(int(100*done/max(all, 1)), k.String())
}

// end shows the end if there was anything to show.
func (p *rowsProgress) end() {
	if p.shown {
		p.bar.End(fmt.Sprintf("%d rows copied and compared", p.done/2))
	}
}

func backup(
	ctx context.Context, cfg server.Config, dir string, now time.Time, stdout, stderr io.Writer,
) error {
	p := newRowsProgress(stderr, "backup")
	b, err := cfg.Backup(ctx, dir, now, p.show)
	if err != nil {
		return err
	}

	p.end()
	for _, f := range b.Findings {
		fmt.Fprintf(stderr, "warning: the audit record that was copied: %s\n", certs.Printable(f))
	}

	fmt.Fprintf(stdout, "backup of %s in %s\n", b.Public, dir)
	for _, f := range b.Files {
		fmt.Fprintf(stdout, "%s\t%d bytes\tsha-256 %s\n", f.Name, f.Size, f.SHA256)
	}

	return nil
}

func acceptTime(ctx context.Context, cfg server.Config, now time.Time, stdout io.Writer) error {
	until, err := cfg.AcceptTime(ctx, now)
	if err != nil {
		return err
	}
	if until.IsZero() {
		fmt.Fprintln(
			stdout,
			"nothing to accept: the present time is not behind what was stored",
		)
		return nil
	}

	fmt.Fprintf(stdout, "accepted %s; requests would have been refused until %s\n",
		now.UTC().Format(time.RFC3339),
		until.Format(time.RFC3339))
	fmt.Fprintln(stdout,
		"clients are refused until the clock skew has passed: destination accept-time -h explains it")

	return nil
}

func restore(
	ctx context.Context, cfg server.Config, o backupOptions, now time.Time, stdout, stderr io.Writer,
) error {
	if !o.yes {
		b, err := cfg.ReadBackup(o.dir)
		if err != nil {
			return err
		}

		fmt.Fprintf(stdout, "good: backup of %s made %s\nnothing was changed; restore it with -yes\n", b.Public,
			b.Made.Format(time.RFC3339))
		return nil
	}

	p := newRowsProgress(stderr, "restore")
	replaced, err := cfg.Restore(ctx, o.dir, now, p.show)
	if err != nil {
		return err
	}

	p.end()
	fmt.Fprintf(stdout, "restored from %s at %s\n", o.dir, now.UTC().Format(time.RFC3339))
	if len(replaced) > 0 {
		what := "the files"
		if server.OnDatabase(cfg) {
			what = "the schemas"
		}
		fmt.Fprintf(
			stdout,
			"%s before are kept as %s\n",
			what,
			strings.Join(replaced, " and "),
		)
	}
	fmt.Fprintln(stdout,
		"clients are refused until the clock skew has passed, and need new tokens: destination restore -h says why")

	return nil
}
