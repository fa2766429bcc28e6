package postgres_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"fhirdest.example/fhir"
	"fhirdest.example/server/postgres"
	"fhirdest.example/server/postgres/postgrestest"
)

// next stores the version of an Observation that follows one, and returns its number. A
// change may be refused while the tables are altered, if that takes long.
func next(t *testing.T, s fhir.Store, i int, last uint64) (uint64, error) {
	for id := fmt.Sprint("busy", i); ; {
		err := putObservation(t, s, id, last)
		if err == nil {
			return last + 1, nil
		}
		if !errors.Is(err, fhir.ErrUnavailable) {
			return 0, err
		}
		if now, err := version(t, s, id); err == nil && now != last {
			return now, nil // the outcome was unknown
		}
	}
}

// A later program brings the database to its version while an earlier one runs and writes,
// and both go on: each reads what the other has stored. The earlier one reports it, and
// does not start again.
func TestEarlierProgramGoesOn(t *testing.T) {
	c := postgres.Config{
		URL:  postgrestest.New(t),
		Name: "earlier",
	}
	presence, err := postgres.Appear(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer presence.Close()
	earlier := openFHIR(t, c)
	if err := presence.Check(t.Context()); err != nil || len(presence.Health()) > 0 {
		t.Fatalf("%v, %q", err, presence.Health())
	}

	last := make([]uint64, 2)
	for i := range last {
		if last[i], err = next(t, earlier, i, 0); err != nil {
			t.Fatal(err)
		}
	}
	var stop atomic.Bool
	var writing sync.WaitGroup
	for i := range last {
		writing.Go(func() {
			var err error
			for !stop.Load() {
				if last[i], err = next(t, earlier, i, last[i]); err != nil {
					t.Errorf("a change meanwhile: %v", err)
					return
				}
			}
		})
	}
	undo := postgres.WithStep(t, "fhir", `
		alter table doc add column size bigint not null default 0;
		create index on doc (size);
	`)
	_, err = postgres.Migrate(t.Context(), c)
	stop.Store(true)
	writing.Wait()
	if err != nil {
		t.Fatal(err)
	}

	c.Name = "later"
	later := openFHIR(t, c)
	undo() // the earlier program is this one again
	if err := presence.Check(t.Context()); err != nil {
		t.Errorf("the earlier one is not ready: %v", err)
	}
	all := strings.Join(presence.Health(), "\n")
	if !strings.Contains(all, "the schema fhir of the database has version") {
		t.Errorf("it reports %q", all)
	}
	for i, v := range last {
		id := fmt.Sprint("busy", i)
		if err := putObservation(t, later, id, v); err != nil {
			t.Errorf("a change by the later one: %v", err)
		}
		if got, err := version(t, earlier, id); err != nil || got != v+1 {
			t.Errorf("the earlier one reads version %d of %d, %v", got, v+1, err)
		}
		if err := putObservation(t, earlier, id, v+1); err != nil {
			t.Errorf("a change by the earlier one: %v", err)
		}
		if got, err := version(t, later, id); err != nil || got != v+2 {
			t.Errorf("the later one reads version %d of %d, %v", got, v+2, err)
		}
	}
	refused(t, c, "a later one")
}
