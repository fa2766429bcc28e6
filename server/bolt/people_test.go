package bolt

import (
	"path/filepath"
	"sync/atomic"
	"testing"

	"fhirdest.example/server/people"
	"fhirdest.example/server/people/peopletest"
)

// Covers: case 275
func TestPeople(t *testing.T) {
	peopletest.Run(t, func(t *testing.T) peopletest.Subject {
		path := filepath.Join(t.TempDir(), "trust.bolt")
		var full atomic.Bool
		open := func(t *testing.T) *Trust {
			t.Helper()
			s, err := OpenTrust(path, Options{commit: commitUnless(&full)})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}

		s := open(t)
		t.Cleanup(func() {
			checkTrust(t, s)
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		return peopletest.Subject{
			Store: s.People(),
			Reopen: func(t *testing.T) people.Store {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = open(t)
				return s.People()
			},
			FailCommits: full.Store,
		}
	})
}
