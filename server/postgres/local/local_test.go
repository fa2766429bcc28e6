package local_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"fhirdest.example/server/postgres/local"
)

// A server starts in a directory in which an earlier start was interrupted while it made
// the data, and its URL leads to it whatever the directory is called.
func TestStartAfterAnInterrupt(t *testing.T) {
	dir := ""
	for interrupted := false; !interrupted; { // a start may be quicker than this test
		dir = filepath.Join(t.TempDir(), "a b+c%41#d&e=f")
		interrupted = interrupt(t, dir)
	}
	s, err := local.Start(t.Context(), dir, local.Options{})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), s.URL(local.Account))
	if err != nil {
		t.Error(err)
	} else if err := conn.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
}

// interrupt interrupts a start in a directory while it makes the data, and reports whether
// it was under way.
func interrupt(t *testing.T, dir string) bool {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		s, err := local.Start(ctx, dir, local.Options{})
		if err == nil {
			err = s.Stop()
		}
		ended <- err
	}()

	// The number of the version is the first of what is made.
	for {
		if found, _ := filepath.Glob(filepath.Join(dir, "data*", "PG_VERSION")); len(found) > 0 {
			break
		}
		select {
		case err := <-ended:
			if err != nil {
				t.Fatal(err)
			}
			return false
		case <-time.After(time.Millisecond):
		}
	}
	cancel()
	_, whole := os.Stat(filepath.Join(dir, "data"))
	return <-ended != nil && errors.Is(whole, os.ErrNotExist)
}
