package people

import (
	"testing"
	"time"

	"fhirdest.example/server/people/users"
)

// A session of before its further fields were kept began when the person signed in,
// and lives on.
func TestFormerSession(t *testing.T) {
	start := time.Unix(1_800_000_000, 0)
	user := &users.User{
		Subject:  "alice",
		Password: "hash",
	}
	s := Session{
		Subject:     "alice",
		SignedIn:    start,
		LastRequest: start,
	}

	if !s.lives(user, start.Add(Life-1)) || s.lives(user, start.Add(Life)) {
		t.Error("it does not live until its end")
	}
	if got := s.Authenticated(); !got.Equal(start) {
		t.Errorf("authenticated at %s", got)
	}
	if s.lives(&users.User{Subject: "bob", Password: "hash"}, start) {
		t.Error("it is another person's session")
	}
}
