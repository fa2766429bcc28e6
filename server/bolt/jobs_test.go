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

// The files of jobs in a directory, beside jobs.bolt.
func TestJobFiles(t *testing.T) {
	asynctest.FilesTest(t, func(t *testing.T) asynctest.FilesSubject {
		s, err := bolt.OpenJobs(filepath.Join(t.TempDir(), "jobs.bolt"), bolt.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })

		files, err := async.OpenDir(filepath.Join(t.TempDir(), "jobs"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = files.Close() })
		return asynctest.FilesSubject{
			Store: s,
			Files: files,
		}
	})
}
