package fhir_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/server/bolt"
)

// held is a store whose changes of resources wait until they are let go.
type held struct {
	fhir.Store
	arrived chan bool
	release chan bool
}

func (s *held) Update(ctx context.Context, f func(fhir.Change) error) error {
	if s.arrived != nil {
		s.arrived <- true
		<-s.release
	}
	return s.Store.Update(ctx, f)
}

// A moment is settled when every change with an earlier lastUpdated is committed; a
// later change gets a later one, even by a clock that does not go on. Otherwise an
// export would miss what was being stored when it began, and so would the next one.
func TestSettledMoments(t *testing.T) {
	resources, err := bolt.OpenFHIR(filepath.Join(t.TempDir(), "fhir.bolt"), bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resources.Close() })
	clock := time.Date(2026, 3, 1, 12, 0, 0, int(5*time.Millisecond), time.UTC)
	store := &held{Store: resources}
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

	store.arrived, store.release = make(chan bool), make(chan bool)
	stored := make(chan bool)
	go func() { put("early"); close(stored) }()
	<-store.arrived

	settled := make(chan time.Time)
	go func() {
		at, err := s.Settle(t.Context())
		if err != nil {
			t.Error(err)
		}
		settled <- at
	}()

	select {
	case <-settled:
		t.Error("settled while a change is under way")
	case <-time.After(20 * time.Millisecond):
	}

	store.release <- true
	at := <-settled
	if got := updated("early"); got.IsZero() || got.After(at) {
		t.Errorf("stored at %v, settled at %v", got, at)
	}
	<-stored

	store.arrived = nil
	put("late")
	if got := updated("late"); !got.After(at) {
		t.Errorf("stored at %v, after %v was settled", got, at)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if again, err := s.Settle(ctx); err != nil || again.Before(at) {
		t.Errorf("nothing is under way: %v, %v", again, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
