package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/fhirtest"
	"fhirdest.example/server/postgres"
	"fhirdest.example/server/postgres/postgrestest"
)

var errFull = errors.New("no space left on device")

// fhirSubject is a store on a database of its own.
func fhirSubject(t *testing.T) fhirtest.Subject {
	var full atomic.Bool
	c := postgres.WithCommit(postgres.Config{
		URL:  postgrestest.New(t),
		Name: "one",
	}, func(ctx context.Context, tx pgx.Tx) error {
		if full.Load() {
			return errFull
		}
		return tx.Commit(ctx)
	})
	open := func(t *testing.T) *postgres.FHIR {
		t.Helper()
		s, err := postgres.OpenFHIR(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open(t)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})

	return fhirtest.Subject{
		Store: s,
		Reopen: func(t *testing.T) fhir.Store {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t)
			return s
		},
		FailCommits: full.Store,
		Second: func(t *testing.T) fhir.Store {
			c := c
			c.Name = "two"
			second, err := postgres.OpenFHIR(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := second.Close(); err != nil {
					t.Error(err)
				}
			})
			return second
		},
	}
}

// Covers: case 260
func TestFHIRStore(t *testing.T) { fhirtest.StoreTest(t, fhirSubject) }

// A former version whose row is gone is damage, and not a version that never was.
func TestFormerVersionIsMissed(t *testing.T) {
	url := postgrestest.New(t)
	s := openFHIR(t, postgres.Config{
		URL:  url,
		Name: "east",
	})
	err := s.Update(t.Context(), func(c fhir.Change) error {
		doc, err := c.Put(t.Context(), fhirtest.Entry(t, 0, "Observation", "x", 1, "final"))
		if err != nil {
			return err
		}
		_, err = c.Put(t.Context(), fhirtest.Entry(t, doc, "Observation", "x", 2, "amended"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := connect(t, url).Exec(t.Context(), "delete from fhir.former"); err != nil {
		t.Fatal(err)
	}

	for version, want := range []error{nil, fhir.ErrDamaged, nil, nil} {
		err := s.View(t.Context(), func(now fhir.Snapshot) error {
			doc, _, err := now.Lookup(t.Context(), "Observation", "x")
			if err != nil {
				return err
			}
			_, there, err := now.Version(t.Context(), doc, uint64(version))
			if there != (version == 2) {
				t.Errorf("version %d is there: %v", version, there)
			}
			return err
		})
		if !errors.Is(err, want) {
			t.Errorf("version %d: %v, want %v", version, err, want)
		}
	}
}

// What one destination remembers counts no longer after another has made more changes
// than are followed one by one.
func TestManyChangesElsewhere(t *testing.T) {
	c := postgres.Config{
		URL:  postgrestest.New(t),
		Name: "east",
	}
	one, two := openFHIR(t, c), openFHIR(t, c)
	if err := putObservation(t, two, "x", 0); err != nil {
		t.Fatal(err)
	}
	if v, err := version(t, one, "x"); v != 1 || err != nil {
		t.Fatalf("version %d, %v", v, err)
	}

	err := two.Update(t.Context(), func(c fhir.Change) error {
		for i := range 1500 {
			e := fhirtest.Entry(t, 0, "Observation", fmt.Sprint(i), 1, "final")
			if _, err := c.Put(t.Context(), e); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = putObservation(t, two, "x", 1)
	}
	if err != nil {
		t.Fatal(err)
	}
	if v, err := version(t, one, "x"); v != 2 || err != nil {
		t.Errorf("afterwards: version %d, %v", v, err)
	}
}
