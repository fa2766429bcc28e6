package postgres_test

import (
	"testing"
	"time"

	"fhirdest.example/server/postgres"
)

func leads(t *testing.T, s *postgres.FHIR, name string) bool {
	t.Helper()
	ok, err := s.Lead(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

// becomesLeader waits until it is: the server needs a moment to notice an end.
func becomesLeader(t *testing.T, s *postgres.FHIR, name string) {
	t.Helper()
	for !leads(t, s, name) {
		select {
		case <-t.Context().Done():
			t.Fatal("the other never leads")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// One of several destinations does a thing, until it ends; each thing has its own.
func TestOneLeads(t *testing.T) {
	s := openShared(t)
	for range 2 {
		if !leads(t, s.east, "a") || leads(t, s.west, "a") {
			t.Error("not the first alone leads")
		}
	}
	if !leads(t, s.west, "b") || leads(t, s.east, "b") {
		t.Error("another thing is not apart")
	}

	if err := s.east.Close(); err != nil {
		t.Fatal(err)
	}
	becomesLeader(t, s.west, "a")
}

// One whose session the server has ended leads no more unless nobody else does.
func TestLeadIsLostWithItsSession(t *testing.T) {
	s := openShared(t)
	if !leads(t, s.east, "a") || leads(t, s.west, "a") {
		t.Fatal("not the first alone leads")
	}

	s.sql("select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted and objsubid = 2")
	becomesLeader(t, s.west, "a")
	if _, err := s.east.Lead(t.Context(), "a"); err == nil {
		t.Error("a session that has ended still leads")
	}
	if leads(t, s.east, "a") {
		t.Error("both lead")
	}
}
