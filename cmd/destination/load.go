package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"fhirdest.example/cmd/internal/progress"
	"fhirdest.example/gateway/complaint"
	"fhirdest.example/server"
)

const loadUsage = `usage: destination load -config FILE [-again] NDJSON...

Stores the resources of NDJSON files, one a line, in a stopped destination: those
with an id as PUT would, the others as POST. Each is validated like a client's; the
lines that are refused are counted, and the first reasons are printed.

How far a file is loaded is stored with the resources. A load that was interrupted,
by kill -9 too, goes on where it was when the same command is run again, and a file
that was loaded whole is left alone; -again loads it anew.

  -config FILE   the destination's configuration
  -again         load files that were loaded before, from their start

Examples:
  destination load -config /etc/destination.yaml Patient.ndjson Observation.ndjson
Exit codes: 0 everything is stored; 1 lines were refused; 2 it cannot be done, and why.
`

// shownReasons bounds the reasons that are printed of one file.
const shownReasons = 10

// runLoad runs "destination load".
func runLoad(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var config string
	o := server.LoadOptions{Now: time.Now}
	f := flag.NewFlagSet("destination load", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&config, "config", "", "")
	f.BoolVar(&o.Again, "again", false, "")

	err := f.Parse(args)
	o.Files = f.Args()
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, loadUsage)
		return 0
	case err == nil && config == "":
		err = errors.New("no configuration is named: -config FILE is missing")
	case err == nil && len(o.Files) == 0:
		err = errors.New("no file is named")
	}

	if err != nil {
		complaint.Print(
			stderr,
			complaint.New(err.Error(), "destination load -h shows the options"),
		)
		return 2
	}

	cfg, err := read(config)
	report := loadReport{
		started: time.Now(),
		errs:    stderr,
	}
	o.Progress = report.show
	if err == nil {
		err = cfg.Load(ctx, o)
	}

	report.print(stdout)
	if err != nil {
		complaint.Print(stderr, err)
		return 2
	}
	if report.refused() > 0 {
		return 1
	}

	return 0
}

// loadReport is what became of the files.
type loadReport struct {
	started time.Time
	errs    io.Writer
	files   []loadedFile
	bar     *progress.Bar
}

type loadedFile struct {
	name string
	at   server.LoadPlace
}

// show is called after each transaction.
func (r *loadReport) show(name string, size int64, at server.LoadPlace) {
	if n := len(r.files); n == 0 || r.files[n-1].name != name {
		r.files = append(r.files, loadedFile{name: name})
		r.bar = progress.New(r.errs, filepath.Base(name))
	}

	last := &r.files[len(r.files)-1]
	ended := last.at.Done
	last.at = at
	text := fmt.Sprintf("%d stored, %d refused", at.Total(), at.Refused)
	switch {
	case ended:
	case at.Done:
		r.bar.End(text)
	default:
		r.bar.Show(int(at.Offset*100/max(size, 1)), text)
	}
}

func (r *loadReport) refused() (n int64) {
	for _, f := range r.files {
		n += f.at.Refused
	}
	return n
}

// print prints the counts by type, and why lines were refused.
func (r *loadReport) print(w io.Writer) {
	for _, f := range r.files {
		state := "loaded"
		if !f.at.Done {
			state = "not whole yet"
		}
		fmt.Fprintf(w, "%s: %s, %d lines, %d stored, %d refused\n", f.name, state, f.at.Line, f.at.Total(),
			f.at.Refused)
		for _, typ := range slices.Sorted(maps.Keys(f.at.Stored)) {
			fmt.Fprintf(w, "  %-24s %d\n", typ, f.at.Stored[typ])
		}

		for i, refused := range f.at.First {
			if i == shownReasons {
				break
			}
			fmt.Fprintf(w, "  line %d: %s\n", refused.Line, refused.Outcome)
		}
	}
}
