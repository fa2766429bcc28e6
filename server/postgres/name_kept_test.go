package postgres_test

import (
	"errors"
	"testing"

	"fhirdest.example/server/postgres"
	"fhirdest.example/server/postgres/postgrestest"
)

// east is a destination of that name on a database.
func east(at string) postgres.Config {
	return postgres.Config{
		URL:  at,
		Name: "east",
	}
}

// appear has it run until the end of the test.
func appear(t *testing.T, at string) *postgres.Presence {
	t.Helper()
	p, err := postgres.Appear(t.Context(), east(at))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// A destination whose connection is lost silently has its name on another one at once,
// though the server still has the former session.
func TestNameIsKeptAfterSilentCut(t *testing.T) {
	t.Parallel() // most of it waits
	at := postgrestest.New(t)
	c, through := postgrestest.NewCutter(t, at)
	conn := connect(t, at)
	presence := appear(t, through)

	session := func() (pid int) {
		t.Helper()
		err := conn.QueryRow(t.Context(), `select pid from pg_stat_activity
			where application_name = 'destination east' and datname = current_database()`).Scan(&pid)
		if err != nil {
			t.Fatal(err)
		}
		return pid
	}
	former := session()
	c.Silence()
	if err := presence.Keep(t.Context()); err != nil {
		t.Errorf("the first time: %v", err)
	}
	if err := presence.Check(t.Context()); err != nil {
		t.Errorf("readiness: %v", err)
	}
	if now := session(); now == former {
		t.Error("the session that was lost still has the name")
	}
	if _, err := postgres.Appear(t.Context(), east(at)); !errors.Is(err, postgres.ErrNameTaken) {
		t.Errorf("a second destination of the name: %v", err)
	}
}

// A destination that was cut off, and whose name another one has since, learns of it and
// does not end that one's session.
func TestNameIsLostAfterSilentCut(t *testing.T) {
	t.Parallel() // most of it waits
	at := postgrestest.New(t)
	c, through := postgrestest.NewCutter(t, at)
	presence := appear(t, through)
	c.Silence()
	if _, err := connect(t, at).Exec(t.Context(), `select pg_terminate_backend(pid, 60000) from pg_stat_activity
		where application_name = 'destination east' and datname = current_database()`); err != nil {
		t.Fatal(err)
	}
	other := appear(t, at)

	if err := presence.Keep(t.Context()); !errors.Is(err, postgres.ErrNameTaken) {
		t.Errorf("the one that was cut off: %v", err)
	}
	if err := presence.Check(t.Context()); !errors.Is(err, postgres.ErrNameTaken) {
		t.Errorf("its readiness: %v", err)
	}
	if err := other.Keep(t.Context()); err != nil {
		t.Errorf("the other: %v", err)
	}
}
