package postgres_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/server/oauth"
	"fhirdest.example/server/postgres"
	"fhirdest.example/server/postgres/postgrestest"
)

// A destination whose clock is far from the database's does not start, and is not ready
// while it is; a smaller difference is a warning.
func TestClockIsComparedWithTheDatabase(t *testing.T) {
	var ahead atomic.Int64
	c := postgres.WithClock(postgres.Config{
		URL:  postgrestest.New(t),
		Name: "east",
	}, func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) })

	for _, row := range []struct {
		ahead         time.Duration
		fault, health string
	}{
		{0, "", ""},
		{20 * time.Second, "", "ahead of the database's"},
		{-20 * time.Second, "", "behind the database's"},
		{10 * time.Minute, "ahead of the database's", ""},
		{-10 * time.Minute, "behind the database's", ""},
	} {
		t.Run(row.ahead.String(), func(t *testing.T) {
			holds := func(what string, err error) {
				if text := faultText(err); row.fault == "" && text != "" || !strings.Contains(text, row.fault) {
					t.Errorf("%s: %v", what, err)
				}
			}
			ahead.Store(int64(row.ahead))
			_, err := postgres.Examine(t.Context(), c)
			holds("-check", err)
			p, err := postgres.Appear(t.Context(), c)
			holds("start", err)
			if err == nil {
				health := strings.Join(p.Health(), "\n")
				if row.health == "" && health != "" || !strings.Contains(health, row.health) {
					t.Errorf("health: %q", health)
				}
				_ = p.Close() // never fails
			}

			ahead.Store(0)
			p, err = postgres.Appear(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			ahead.Store(int64(row.ahead))
			holds("running", p.Check(t.Context()))
			ahead.Store(0)
			if err := p.Check(t.Context()); err != nil || len(p.Health()) > 0 {
				t.Errorf("set right: %v, %v", err, p.Health())
			}
		})
	}
}

// A destination whose clock jumps ahead while it runs, or back, does nothing on the
// database from the next request on: it would move the floor that all share, and so end
// what others need. It goes on when the clock is right again.
//
// Covers: case 098
func TestClockJumpsWhileRunning(t *testing.T) {
	var ahead atomic.Int64
	at := postgrestest.New(t)
	presence, err := postgres.Appear(t.Context(), postgres.WithClock(postgres.Config{
		URL:  at,
		Name: "east",
	}, func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }))
	if err != nil {
		t.Fatal(err)
	}
	defer presence.Close()
	trust, other := openTrustOf(t, presence.Config()), openAt(t, at)
	conn := connect(t, at)
	state := func() (text string) {
		if err := conn.QueryRow(t.Context(), "select state::text from trust.state").Scan(&text); err != nil {
			t.Fatal(err)
		}
		return text
	}

	now := time.Now()
	if err := trust.Spend(t.Context(), jwt("before", now, now)); err != nil {
		t.Fatal(err)
	}
	for _, jump := range []time.Duration{24 * time.Hour, -24 * time.Hour, 2 * time.Minute} {
		before := state()
		ahead.Store(int64(jump))
		then := now.Add(jump)
		if err := trust.Spend(t.Context(), jwt("ahead", then, then)); !errors.Is(err, fhir.ErrUnavailable) ||
			errors.Is(err, oauth.ErrUnknown) || !strings.Contains(err.Error(), "the clock of this machine") {
			t.Errorf("%v: %v", jump, err)
		}
		if _, err := trust.Client(t.Context(), "c"); !errors.Is(err, fhir.ErrUnavailable) {
			t.Errorf("%v: reading: %v", jump, err)
		}
		if err := presence.Check(t.Context()); !strings.Contains(faultText(err), "the clock of this machine") {
			t.Errorf("%v: %v", jump, err)
		}
		if after := state(); after != before {
			t.Errorf("%v: the state was %s and is %s", jump, before, after)
		}
		if err := other.Spend(t.Context(), jwt("other "+jump.String(), now, now)); err != nil {
			t.Errorf("%v: at the other destination: %v", jump, err)
		}
	}

	ahead.Store(0)
	if err := trust.Spend(t.Context(), jwt("after", now, now)); err != nil {
		t.Errorf("set right: %v", err)
	}
}

func faultText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
