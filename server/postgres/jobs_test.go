package postgres_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"fhirdest.example/fhir/async"
	"fhirdest.example/fhir/async/asynctest"
	"fhirdest.example/server/postgres"
	"fhirdest.example/server/postgres/postgrestest"
)

// openJobs opens one destination's store of jobs.
func openJobs(t *testing.T, url string) *postgres.Jobs {
	t.Helper()
	s, err := postgres.OpenJobs(t.Context(), postgres.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// The store of jobs on PostgreSQL, shared by two destinations.
func TestJobs(t *testing.T) {
	asynctest.StoreTest(t, func(t *testing.T) asynctest.Subject {
		url := postgrestest.New(t)
		s := openJobs(t, url)
		return asynctest.Subject{
			Store:  s,
			Second: openJobs(t, url),
			Reopen: func(t *testing.T) async.Store {
				_ = s.Close()
				return openJobs(t, url)
			},
		}
	})
}

// The files of jobs in the database, shared by two destinations.
func TestJobFiles(t *testing.T) {
	asynctest.FilesTest(t, func(t *testing.T) asynctest.FilesSubject {
		url := postgrestest.New(t)
		s := openJobs(t, url)
		return asynctest.FilesSubject{
			Store:  s,
			Files:  s.Files(),
			Second: openJobs(t, url).Files(),
		}
	})
}

// Chunks that belong to no job are removed once no job can be created for them any
// more.
func TestOrphanedChunksAreRemoved(t *testing.T) {
	url := postgrestest.New(t)
	s := openJobs(t, url)
	room := async.Room{
		Disk:  1 << 20,
		Share: 1 << 20,
	}
	if err := s.Files().Keep(t.Context(), "a", "c1", []byte("body"), room); err != nil {
		t.Fatal(err)
	}

	db, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(t.Context())
	for _, step := range []struct {
		age  string
		want int
	}{{"0", 1}, {"1 hour", 0}} {
		if _, err := db.Exec(t.Context(), "update jobs.chunk set made = now() - $1::interval", step.age); err != nil {
			t.Fatal(err)
		}
		if err := s.Files().Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}

		left := 0
		err := db.QueryRow(t.Context(), "select count(*) from jobs.chunk").Scan(&left)
		if err != nil || left != step.want {
			t.Errorf("after %s: %v, %d are left", step.age, err, left)
		}
	}
}
