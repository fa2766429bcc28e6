package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/fhirtest"
	"fhirdest.example/server/oauth"
	"fhirdest.example/server/postgres"
	"fhirdest.example/server/postgres/local"
	"fhirdest.example/server/postgres/postgrestest"
)

// openFHIR opens a store on a database, which is closed at the end.
func openFHIR(t testing.TB, c postgres.Config) *postgres.FHIR {
	t.Helper()
	s, err := postgres.OpenFHIR(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// putObservation stores a version of an Observation; the first when follows is 0.
func putObservation(t testing.TB, s fhir.Store, id string, follows uint64) error {
	return s.Update(t.Context(), func(c fhir.Change) error {
		doc, _, err := c.Lookup(t.Context(), "Observation", id)
		if err != nil {
			return err
		}
		_, err = c.Put(t.Context(), fhirtest.Entry(t, doc, "Observation", id, follows+1, "final"))
		return err
	})
}

// version returns the version of an Observation that a store reads; 0 for none.
func version(t testing.TB, s fhir.Store, id string) (version uint64, err error) {
	err = s.View(t.Context(), func(sn fhir.Snapshot) error {
		version = 0
		doc, ok, err := sn.Lookup(t.Context(), "Observation", id)
		if err != nil || !ok {
			return err
		}
		e, _, err := sn.Entry(t.Context(), doc)
		version = e.Version
		return err
	})
	return version, err
}

// The connection is cut at each point of a change, in either direction. What was
// answered with success is there; what was refused is not; and whatever the outcome,
// both destinations read the same afterwards.
//
// Covers: case 131
func TestFHIRCutAnywhere(t *testing.T) {
	at := postgrestest.New(t)
	direct := openFHIR(t, postgres.Config{URL: at, Name: "direct"})
	c, through := postgrestest.NewCutter(t, at)
	s := openFHIR(t, postgres.Config{URL: through, Name: "cut"})
	for n := range 3 { // statements are prepared on each connection
		if err := putObservation(t, s, fmt.Sprint("warm", n), 0); err != nil {
			t.Fatal(err)
		}
	}
	c.Arm(0, -1)
	if err := putObservation(t, s, "measured", 0); err != nil {
		t.Fatal(err)
	}
	whole := c.Arm(0, -1)

	outcomes := map[string]int{}
	for direction := range 2 {
		for after := 0; after <= whole[direction]+40; after += 31 {
			if near := whole[direction] - 60; after > near {
				after -= 24 // the answer to a commit is short
			}
			id := fmt.Sprintf("o%d-%d", direction, after)
			c.Arm(direction, after)
			err := putObservation(t, s, id, 0)
			c.Arm(direction, -1)

			here, hereErr := version(t, s, id)
			there, thereErr := version(t, direct, id)
			if hereErr != nil || thereErr != nil || here != there {
				t.Errorf("%s: version %d here and %d there, %v, %v", id, here, there, hereErr, thereErr)
			}
			switch {
			case err == nil:
				outcomes["answered"]++
			case errors.Is(err, oauth.ErrUnknown) && errors.Is(err, fhir.ErrUnavailable):
				outcomes["unknown"]++
				continue
			case errors.Is(err, fhir.ErrUnavailable):
				outcomes["refused"]++
			default:
				t.Errorf("%s: %v", id, err)
			}
			if (err == nil) != (here == 1) {
				t.Errorf("%s: %v, and version %d", id, err, here)
			}
		}
	}

	t.Logf("outcomes: %v", outcomes)
	// A cut before the commit is mostly made good by the next connection.
	if outcomes["answered"] == 0 || outcomes["unknown"] == 0 {
		t.Errorf("the cuts did not meet each part of a transaction: %v", outcomes)
	}
	if h := s.Health(); len(h) > 0 {
		t.Errorf("alarms when all is well again: %q", h)
	}
}

// A view whose connection is cut fails as one that may be tried again, and the next
// one reads.
func TestFHIRViewCut(t *testing.T) {
	at := postgrestest.New(t)
	c, through := postgrestest.NewCutter(t, at)
	s := openFHIR(t, postgres.Config{URL: through, Name: "cut"})
	if err := putObservation(t, s, "a", 0); err != nil {
		t.Fatal(err)
	}

	err := s.View(t.Context(), func(sn fhir.Snapshot) error {
		if _, err := sn.Setting(t.Context(), "x"); err != nil {
			return err
		}
		c.Cut()
		_, err := sn.Setting(t.Context(), "y")
		if !errors.Is(err, fhir.ErrUnavailable) {
			t.Errorf("on a connection that was cut: %v", err)
		}
		return nil // what f makes of it does not count
	})
	if !errors.Is(err, fhir.ErrUnavailable) {
		t.Errorf("a view that was cut: %v", err)
	}
	if v, err := version(t, s, "a"); err != nil || v != 1 {
		t.Errorf("afterwards: version %d, %v", v, err)
	}
}

// Without its database the store answers at once that it is not available, and goes on
// with the next request after PostgreSQL was killed and started again. Nothing that
// was kept in memory is served meanwhile.
func TestFHIRServerKilled(t *testing.T) {
	server, restart := ownServer(t, serverDirectory(t), local.Options{})
	s := openFHIR(t, postgres.Config{URL: server.URL("postgres"), Name: "one"})
	if err := putObservation(t, s, "a", 0); err != nil {
		t.Fatal(err)
	}
	if v, err := version(t, s, "a"); err != nil || v != 1 {
		t.Fatalf("version %d, %v", v, err)
	}

	if err := server.Kill(); err != nil && !strings.Contains(err.Error(), "finished") {
		t.Fatal(err)
	}
	// Its processes notice the end of the first one by one.
	for _, err := version(t, s, "a"); !errors.Is(err, fhir.ErrUnavailable); {
		_, err = version(t, s, "a")
	}
	stored := uint64(1)
	err := putObservation(t, s, "a", stored)
	for ; err == nil; err = putObservation(t, s, "a", stored) {
		stored++
	}
	if !errors.Is(err, fhir.ErrUnavailable) || errors.Is(err, oauth.ErrUnknown) {
		t.Errorf("a change without a database: %v", err)
	}

	restart()
	if v, err := version(t, s, "a"); err != nil || v != stored {
		t.Errorf("the next view: version %d, want %d, %v", v, stored, err)
	}
	if err := putObservation(t, s, "a", stored); err != nil {
		t.Errorf("the next change: %v", err)
	}
}

// A caller who leaves harms nobody: others who share the transaction go on.
func TestFHIRCallerLeaves(t *testing.T) {
	s := openFHIR(t, postgres.Config{URL: postgrestest.New(t), Name: "one"})
	ctx, leave := context.WithCancel(t.Context())
	err := s.Update(ctx, func(c fhir.Change) error {
		leave()
		_, _, err := c.Lookup(ctx, "Observation", "a")
		return err
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("one who left: %v", err)
	}
	if err := putObservation(t, s, "a", 0); err != nil {
		t.Errorf("the next one: %v", err)
	}
}
