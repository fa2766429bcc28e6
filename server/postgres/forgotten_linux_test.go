package postgres_test

import (
	"errors"
	"testing"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/server/oauth/storetest"
	"fhirdest.example/server/postgres"
	"fhirdest.example/server/postgres/postgrestest"
)

// A firewall forgets the connections of a destination and drops what comes on them, while
// the database answers on others. Work that is done on one learns of it in the same time,
// whichever store it is of, and what reads does so on another connection.
//
// Covers: case 131
func TestForgottenConnections(t *testing.T) {
	t.Parallel() // most of it waits
	at := postgrestest.New(t)
	c, through := postgrestest.NewCutter(t, at)
	s := openFHIR(t, postgres.Config{
		URL:  through,
		Name: "cut",
	})
	trust := openAt(t, through)
	if err := putObservation(t, s, "a", 0); err != nil {
		t.Fatal(err)
	}
	if err := trust.Spend(t.Context(), storetest.Spend("warm")); err != nil {
		t.Fatal(err)
	}

	for _, row := range []struct {
		name string
		do   func() error
		read bool
	}{
		{"a read", func() error {
			_, err := version(t, s, "a")
			return err
		}, true},
		{"a change", func() error { return putObservation(t, s, "a", 1) }, false},
		{"a used jti", func() error { return trust.Spend(t.Context(), storetest.Spend("used")) }, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			if err := c.Forget(); err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			err := row.do()
			t.Logf("%v after %v", err, time.Since(begun))
			if err != nil && (row.read || !errors.Is(err, fhir.ErrUnavailable)) {
				t.Error(err)
			}
			if v, err := version(t, s, "a"); err != nil || v == 0 {
				t.Errorf("the next read: version %d, %v", v, err)
			}
		})
	}
}
