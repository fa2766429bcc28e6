package postgres_test

import (
	"errors"
	"testing"
	"time"

	"fhirdest.example/server/oauth"
	"fhirdest.example/server/oauth/stored"
	"fhirdest.example/server/oauth/storetest"
	"fhirdest.example/server/postgres/postgrestest"
)

// Each bound of what may be used holds to the minute, the second and the row: on one side
// of it a JWT is accepted, on the other it is not.
//
// Covers: case 098
func TestTrustBounds(t *testing.T) {
	at := postgrestest.New(t)
	s := openAt(t, at)
	conn := connect(t, at)
	now := storetest.Start.Add(30 * time.Second)
	since := jwt("", now, now).Since.Unix()
	minute := int64(stored.MinuteSpent(jwt("", now, now)))
	ahead := now.Add(oauth.MaxSkew).Unix()

	for _, row := range []struct {
		name   string
		column string
		value  int64
		want   error
	}{
		{"forgotten up to its minute", "floor", minute, oauth.ErrSwept},
		{"forgotten up to the minute before", "floor", minute - 1, nil},
		{"restored in its first second", "restored", since, oauth.ErrRestored},
		{"restored in the second before", "restored", since - 1, nil},
		{"restored later than clocks may be apart", "restored", ahead + 1, oauth.ErrSwept},
		{"restored as much later as clocks may be apart", "restored", ahead, oauth.ErrRestored},
		{"no room", "spent", oauth.MaxSpent, oauth.ErrFull},
		{"room for one", "spent", oauth.MaxSpent - 1, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			if _, err := conn.Exec(t.Context(),
				"update trust.state set floor = 0, restored = 0, spent = 0"); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Exec(t.Context(),
				"update trust.state set "+row.column+" = $1", row.value); err != nil {
				t.Fatal(err)
			}

			if err := s.Spend(t.Context(), jwt(row.name, now, now)); !errors.Is(err, row.want) {
				t.Errorf("%v, want %v", err, row.want)
			}
		})
	}
}
