package postgres

import (
	"context"
	"io/fs"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"
)

// Advisory locks of the stores.
const (
	TrustLock int64 = writeLock
	FHIRLock  int64 = fhirWriter
	JobsLock  int64 = creating
)

// WithCommit returns a configuration whose stores commit by a function of a test.
func WithCommit(c Config, commit func(context.Context, pgx.Tx) error) Config {
	c.commit = commit
	return c
}

// WithClock returns a configuration of a machine whose clock is that of a test.
func WithClock(c Config, now func() time.Time) Config {
	c.now = now
	return c
}

// ProbeAt has a server probed whose host has these addresses.
func ProbeAt(ctx context.Context, c Config, addresses ...string) error {
	s, err := newServer(c, false)
	if err != nil {
		return err
	}
	defer s.Close()
	s.settings.LookupFunc = func(context.Context, string) ([]string, error) { return addresses, nil }
	return s.Ask(ctx)
}

// Keep finds out once whether the name of a destination is still its own.
func (p *Presence) Keep(ctx context.Context) error { return p.keep(ctx) }

// Waiting returns how many callers' work of a store has not begun.
func Waiting(t *Trust) int { return t.commits.Waiting() }

// WithStep makes this a later program, which has one step more for a schema, until the
// function that it returns is called.
func WithStep(t *testing.T, schema, text string) (undo func()) {
	t.Helper()
	later := fstest.MapFS{}
	err := fs.WalkDir(embedded, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := embedded.ReadFile(path)
		later[path] = &fstest.MapFile{Data: body}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}

	later["steps/"+schema+"/999.sql"] = &fstest.MapFile{Data: []byte(text)}
	steps = later
	undo = func() { steps = embedded }
	t.Cleanup(undo)
	return undo
}
