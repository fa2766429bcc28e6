package local_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"fhirdest.example/server/postgres/local"
)

// A server starts in a directory in which an earlier start was interrupted while it made
// the data, and its URL leads to it whatever the directory is called.
func TestStartAfterAnInterrupt(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a b+c%41#d&e=f")
	ctx, interrupt := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		s, err := local.Start(ctx, dir, local.Options{})
		if err == nil {
			err = s.Stop()
		}
		ended <- err
	}()

	// The number of the version is the first of what is made.
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if found, _ := filepath.Glob(filepath.Join(dir, "data*", "PG_VERSION")); len(found) > 0 {
			break
		}
	}
	interrupt()
	if err := <-ended; err == nil {
		t.Fatal("it was not interrupted")
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
