package postgres_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

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

func faultText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
