package fhir_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/server/bolt"
)

// held is a store in which the next change of all waits until it is let go.
type held struct {
	fhir.Store
	next    atomic.Bool
	arrived chan bool
	release chan bool
}

func (s *held) Update(ctx context.Context, f func(fhir.Change) error) error {
	if s.next.CompareAndSwap(true, false) {
		s.arrived <- true
		<-s.release
	}
	return s.Store.Update(ctx, f)
}

// A change that is committed after a moment was settled gets a later lastUpdated, even
// if it was under way before, and by a clock that does not go on. Otherwise an export
// would miss what was being stored when it began, and so would the next one. That
// holds for the changes of another destination on the same store, too.
func TestSettledMoments(t *testing.T) {
	resources, err := bolt.OpenFHIR(filepath.Join(t.TempDir(), "fhir.bolt"), bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resources.Close() })
	clock := time.Date(2026, 3, 1, 12, 0, 0, int(5*time.Millisecond), time.UTC)
	store := &held{
		Store:   resources,
		arrived: make(chan bool),
		release: make(chan bool),
	}
	s, err := fhir.New(fhir.Config{
		PublicBase: publicBase,
		Store:      store,
		Authorize:  authorize,
		Now:        func() time.Time { return clock },
	})
	if err != nil {
		t.Fatal(err)
	}

	put := func(id string) {
		r := httptest.NewRequest("PUT", "/acme/fhir/Patient/"+id,
			strings.NewReader(`{"resourceType":"Patient","id":"`+id+`"}`))
		r.Header.Set("Authorization", "Bearer "+everything)
		r.Header.Set("Content-Type", "application/fhir+json")
		w := httptest.NewRecorder()
		if s.ServeHTTP(w, r); w.Code != http.StatusCreated {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}

	updated := func(id string) (at time.Time) {
		err := resources.View(t.Context(), func(sn fhir.Snapshot) error {
			doc, ok, err := sn.Lookup(t.Context(), "Patient", id)
			if err != nil || !ok {
				return err
			}
			e, _, err := sn.Entry(t.Context(), doc)
			at = e.Updated
			return err
		})
		if err != nil {
			t.Error(err)
		}

		return at
	}

	put("first")
	store.next.Store(true)
	stored := make(chan bool)
	go func() {
		put("early")
		close(stored)
	}()
	<-store.arrived

	at, err := s.Settle(t.Context())
	if got := updated("first"); err != nil || got.After(at) {
		t.Errorf("stored at %v, settled at %v, %v", got, at, err)
	}
	store.release <- true
	<-stored
	put("late")
	for _, id := range []string{"early", "late"} {
		if got := updated(id); !got.After(at) {
			t.Errorf("%s: stored at %v, after %v was settled", id, got, at)
		}
	}

	clock = clock.Add(-time.Hour)
	put("later")
	if got := updated("later"); !got.After(at) {
		t.Errorf("stored at %v by a clock that was set back, after %v was settled", got, at)
	}
	if again, err := s.Settle(t.Context()); err != nil || again.Before(at) {
		t.Errorf("settled at %v, before %v: %v", again, at, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
