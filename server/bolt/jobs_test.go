package bolt_test

import (
	"path/filepath"
	"testing"

	"fhirdest.example/fhir/async"
	"fhirdest.example/fhir/async/asynctest"
	"fhirdest.example/server/bolt"
)

func TestJobs(t *testing.T) {
	asynctest.StoreTest(t, func(t *testing.T) asynctest.Subject {
		path := filepath.Join(t.TempDir(), "jobs.bolt")
		open := func(t *testing.T) *bolt.Jobs {
			s, err := bolt.OpenJobs(path, bolt.Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close() })
			return s
		}

		s := open(t)
		return asynctest.Subject{
			Store: s,
			Reopen: func(t *testing.T) async.Store {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				return open(t)
			},
		}
	})
}
