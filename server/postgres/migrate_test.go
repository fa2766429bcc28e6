package postgres_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"fhirdest.example/fhir"
	"fhirdest.example/server/postgres"
	"fhirdest.example/server/postgres/postgrestest"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

// Migrate makes the schemas of an empty database once, and leaves one of a later
// program as it is.
func TestMigrate(t *testing.T) {
	c := postgres.Config{URL: postgrestest.Empty(t)}
	for _, from := range []int{0, 1} {
		done, err := postgres.Migrate(t.Context(), c)
		if err != nil || len(done) != 3 {
			t.Fatalf("%v, %v", done, err)
		}
		for _, m := range done {
			if m.From != min(from, m.To) && from == 0 || m.To < 1 || from == 1 && m.From != m.To {
				t.Errorf("%+v", m)
			}
		}
	}

	conn, err := pgx.Connect(t.Context(), c.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "update fhir.version set version = 1000"); err != nil {
		t.Fatal(err)
	}
	_, err = postgres.Migrate(t.Context(), c)
	if hinted := (*postgres.Error)(nil); !errors.As(err, &hinted) || !strings.Contains(err.Error(), "version 1000") {
		t.Errorf("a schema of a later program: %v", err)
	}
}

// A later program brings a database with data to its version: it does not start before,
// and the earlier program does not start afterwards. Of those that migrate at the same
// time, one does it.
func TestMigrateDatabaseWithData(t *testing.T) {
	c := postgres.Config{
		URL:  postgrestest.New(t),
		Name: "east",
	}
	before := openResources(t, c)
	fillResources(t, before, 20)
	if err := before.Close(); err != nil {
		t.Fatal(err)
	}

	undo := postgres.WithStep(t, "fhir", `
		alter table doc add column size bigint;
		update doc set size = length(body);
		alter table doc alter column size set default 0, alter column size set not null;
	`)
	refused(t, c, "destination migrate")
	results := make(chan error, 4)
	var migrated atomic.Int64
	for range cap(results) {
		go func() {
			done, err := postgres.Migrate(t.Context(), c)
			for _, m := range done {
				migrated.Add(int64(m.To - m.From))
			}
			results <- err
		}()
	}
	for range cap(results) {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if n := migrated.Load(); n != 1 {
		t.Errorf("%d steps were done", n)
	}

	after := openResources(t, c)
	err := after.View(t.Context(), func(sn fhir.Snapshot) error {
		doc, ok, err := sn.Lookup(t.Context(), "Observation", "x3")
		if err != nil || !ok {
			t.Errorf("a resource of before: %v, %v", ok, err)
		}
		_, _, err = sn.Entry(t.Context(), doc)
		return err
	})
	addRecords(t, after, 10)
	report, failed := after.VerifyAudit(t.Context(), nil)
	if err := errors.Join(err, failed, after.Close()); err != nil || !report.Intact() {
		t.Errorf("%v, %+v", err, report)
	}

	undo()
	refused(t, c, "a later one")
}

// refused opens a store that must not be opened, for a reason with that hint.
func refused(t *testing.T, c postgres.Config, hint string) {
	t.Helper()
	_, err := postgres.OpenFHIR(t.Context(), c)
	if hinted := (*postgres.Error)(nil); !errors.As(err, &hinted) || !strings.Contains(hinted.Hint, hint) {
		t.Errorf("%v, want a hint of %q", err, hint)
	}
}

// A step that fails leaves the database as it was, and names itself.
func TestFailedStepChangesNothing(t *testing.T) {
	c := postgres.Config{
		URL:  postgrestest.New(t),
		Name: "east",
	}
	undo := postgres.WithStep(t, "jobs", "create table half (n int); select no_such_function()")
	if _, err := postgres.Migrate(t.Context(), c); err == nil || !strings.Contains(err.Error(), "999.sql") {
		t.Errorf("%v", err)
	}
	undo()
	for _, m := range must(postgres.Migrate(t.Context(), c))(t) {
		if m.From != m.To {
			t.Errorf("%+v after a step that failed", m)
		}
	}
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// A password in the URL is refused, and is not in the error.
func TestPasswordInURL(t *testing.T) {
	for _, u := range []string{
		"postgres://a:secret1@localhost/b",
		"postgres://a@localhost/b?password=secret1",
		"postgres://a:secret1@localhost:port/b",
	} {
		_, err := postgres.Migrate(t.Context(), postgres.Config{URL: u})
		if err == nil || strings.Contains(err.Error(), "secret1") {
			t.Errorf("%s: %v", u, err)
		}
	}
}
