package bolt

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/fhirtest"
)

// fhirSubject opens a file, and has Bolt check it when the test is over.
func fhirSubject(t *testing.T) fhirtest.Subject {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fhir.bolt")
	var full atomic.Bool
	open := func(t *testing.T) *FHIR {
		t.Helper()
		s, err := OpenFHIR(path, Options{commit: commitUnless(&full)})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open(t)
	t.Cleanup(func() {
		err := s.db.View(func(tx *bbolt.Tx) error {
			for err := range tx.Check() {
				t.Error(err)
			}
			return nil
		})
		if err := errors.Join(err, s.Close()); err != nil {
			t.Error(err)
		}
	})

	return fhirtest.Subject{
		Store: s,
		Reopen: func(t *testing.T) fhir.Store {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t)
			return s
		},
		FailCommits: full.Store,
	}
}

// Covers: case 260
func TestFHIRStore(t *testing.T) { fhirtest.StoreTest(t, fhirSubject) }

// An answer that says done is durable: every update that returned is in the
// file as another process would find it.
func TestFHIRUpdatesAreInTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fhir.bolt")
	s, err := OpenFHIR(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup

	for i := range 50 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			e := fhir.Entry{
				Type:    "Patient",
				ID:      fmt.Sprint(i),
				Version: 1,
				Updated: time.UnixMilli(1),
				Body:    []byte("{}"),
			}
			err := s.Update(context.Background(), func(c fhir.Change) error {
				_, err := c.Put(t.Context(), e)
				return err
			})
			if err != nil {
				t.Error(err)
			}
		}()
	}

	wg.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Update(context.Background(), func(fhir.Change) error {
		return nil
	}); !errors.Is(err, fhir.ErrUnavailable) {
		t.Errorf("a closed store says %v", err)
	}

	again, err := OpenFHIR(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()

	err = again.View(t.Context(), func(sn fhir.Snapshot) error {
		for i := range 50 {
			if _, ok, err := sn.Find(t.Context(), "Patient", fmt.Sprint(i)); err != nil || !ok {
				t.Errorf("Patient/%d is lost", i)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
