package postgres_test

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"fhirdest.example/fhir"
	"fhirdest.example/server/oauth/storetest"
	"fhirdest.example/server/postgres"
	"fhirdest.example/server/postgres/postgrestest"
)

// twoHosts returns the URL of a database by two ways, the hosts in it, and what cuts the
// first.
func twoHosts(t *testing.T) (first *postgrestest.Cutter, at string, hosts [2]string) {
	t.Helper()
	database := postgrestest.New(t)
	first, one := postgrestest.NewCutter(t, database)
	_, two := postgrestest.NewCutter(t, database)
	for i, text := range []string{one, two} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		hosts[i] = u.Host
	}
	return first, strings.Replace(one, hosts[0], hosts[0]+","+hosts[1], 1), hosts
}

// A host has several addresses, the first of which is silent.
func TestFirstAddressIsSilent(t *testing.T) {
	t.Parallel() // most of it waits
	first, at, hosts := twoHosts(t)
	t.Cleanup(first.Hold(0, 1))
	at = strings.Replace(at, hosts[0]+","+hosts[1], "database.test", 1)
	oneOf(t, func() error {
		return postgres.ProbeAt(t.Context(), postgres.Config{URL: at}, hosts[:]...)
	})
}

// oneOf has one of several probes succeed: the second way has the rest of the time that
// the first one leaves, in which a busy machine may not connect.
func oneOf(t *testing.T, probe func() error) {
	t.Helper()
	var err error
	for range 20 {
		if err = probe(); err == nil {
			return
		}
	}
	t.Errorf("no probe succeeds: %v", err)
}

// A destination whose URL has several hosts starts while the first is silent.
func TestStartWhileFirstHostIsSilent(t *testing.T) {
	t.Parallel() // most of it waits
	first, at, _ := twoHosts(t)
	t.Cleanup(first.Hold(0, 1))
	presence, err := postgres.Appear(t.Context(), postgres.Config{
		URL:  at,
		Name: "east",
	})
	if err != nil {
		t.Fatal(err)
	}
	defer presence.Close()
	oneOf(t, func() error { return presence.Check(t.Context()) })

	s := openTrustOf(t, presence.Config())
	if err := s.Spend(t.Context(), storetest.Spend("x")); err != nil {
		t.Errorf("a request: %v", err)
	}
}

// When the host in use becomes silent for ever, the next one is used.
func TestHostBecomesSilent(t *testing.T) {
	t.Parallel() // most of it waits
	first, at, _ := twoHosts(t)
	presence, err := postgres.Appear(t.Context(), postgres.Config{
		URL:  at,
		Name: "east",
	})
	if err != nil {
		t.Fatal(err)
	}
	defer presence.Close()
	trust, resources := openTrustOf(t, presence.Config()), openFHIR(t, presence.Config())
	if err := errors.Join(
		presence.Check(t.Context()),
		trust.Spend(t.Context(), storetest.Spend("before")),
		putObservation(t, resources, "before", 0),
	); err != nil {
		t.Fatal(err)
	}

	t.Cleanup(first.Hold(0, 1))
	for n := range 20 {
		err = trust.Spend(t.Context(), storetest.Spend(fmt.Sprint("silent ", n)))
		if err == nil {
			break
		}
		if !errors.Is(err, fhir.ErrUnavailable) {
			t.Fatal(err)
		}
		presence.Await(t.Context())
	}
	if err != nil {
		t.Errorf("the second host is not used: %v", err)
	}
	oneOf(t, func() error { return presence.Check(t.Context()) })
	if err := putObservation(t, resources, "after", 0); err != nil {
		t.Errorf("the other store: %v", err)
	}
	if err := presence.Keep(t.Context()); err != nil {
		t.Errorf("the name: %v", err)
	}
}
