package postgres_test

import (
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/async"
	"fhirdest.example/fhir/async/asynctest"
	"fhirdest.example/server/oauth"
	"fhirdest.example/server/oauth/storetest"
	"fhirdest.example/server/postgres"
	"fhirdest.example/server/postgres/postgrestest"
)

// What another session has locked is waited for by every store until the server's limit
// has passed, which is shorter than that of a statement.
func TestLockedOut(t *testing.T) {
	t.Parallel() // most of it waits
	at := postgrestest.New(t)
	trust, resources := openAt(t, at), openFHIR(t, postgres.Config{
		URL:  at,
		Name: "one",
	})
	jobs, err := postgres.OpenJobs(t.Context(), postgres.Config{URL: at})
	if err != nil {
		t.Fatal(err)
	}
	defer jobs.Close()
	conn := connect(t, at)
	for _, row := range []struct {
		name string
		lock int64
		call func() error
	}{
		{"trust", postgres.TrustLock, func() error { return trust.Spend(t.Context(), storetest.Spend("x")) }},
		{"fhir", postgres.FHIRLock, func() error { return putObservation(t, resources, "x", 0) }},
		{"jobs", postgres.JobsLock, func() error {
			return jobs.Create(t.Context(), asynctest.Job("x", "client", time.Now()), async.Room{
				All:       1,
				PerClient: 1,
				Active:    1,
				Disk:      1 << 20,
				Share:     1 << 20,
			})
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			if _, err := conn.Exec(t.Context(), "select pg_advisory_lock($1)", row.lock); err != nil {
				t.Fatal(err)
			}
			err := row.call()
			var answered *pgconn.PgError
			if !errors.As(err, &answered) || answered.Code != "55P03" { // lock_not_available
				t.Errorf("while it is locked: %v", err)
			}
			if !errors.Is(err, fhir.ErrUnavailable) || errors.Is(err, oauth.ErrUnknown) {
				t.Errorf("%v is not one that may be tried again", err)
			}

			if _, err := conn.Exec(t.Context(), "select pg_advisory_unlock($1)", row.lock); err != nil {
				t.Fatal(err)
			}
			if err := row.call(); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// A destination that hangs, or whose machine is gone, while it has the lock of the FHIR
// store loses it, and nothing of its transaction is stored.
func TestFHIRHangingHolder(t *testing.T) {
	t.Parallel() // most of it waits
	at := postgrestest.New(t)
	direct := openFHIR(t, postgres.Config{
		URL:  at,
		Name: "direct",
	})
	c, through := postgrestest.NewCutter(t, at)
	s := openFHIR(t, postgres.Config{
		URL:  through,
		Name: "cut",
	})
	if err := putObservation(t, s, "warm", 0); err != nil {
		t.Fatal(err)
	}

	release := c.Hold(1) // the answer to its first round trip never comes
	lost := make(chan error, 1)
	go func() { lost <- putObservation(t, s, "lost", 0) }()
	conn := connect(t, at)
	for holders := 0; holders == 0; {
		if err := conn.QueryRow(t.Context(), `select count(*) from pg_locks
			where locktype = 'advisory' and granted and objid = $1`, postgres.FHIRLock).Scan(&holders); err != nil {
			t.Fatal(err)
		}
	}
	c.Silence()
	release()

	err := putObservation(t, direct, "other", 0) // for 4 s at most, by the server's clock
	if errors.Is(err, fhir.ErrUnavailable) {
		err = putObservation(t, direct, "other", 0)
	}
	if err != nil {
		t.Errorf("at the other destination: %v", err)
	}
	if err := <-lost; !errors.Is(err, fhir.ErrUnavailable) || errors.Is(err, oauth.ErrUnknown) {
		t.Errorf("cut off before the commit: %v", err)
	}
	c.Cut()
	if v, err := version(t, direct, "lost"); err != nil || v != 0 {
		t.Errorf("what was not committed: version %d, %v", v, err)
	}
}
