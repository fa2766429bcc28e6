package postgres_test

import (
	"context"
	"errors"
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
