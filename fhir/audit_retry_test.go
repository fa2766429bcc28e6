package fhir_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"fhirdest.example/fhir"
)

// failing is a store that cannot be written to for some commits.
type failing struct {
	fhir.Store
	left   atomic.Int64 // commits that will fail
	stored chan struct{}
}

func (s *failing) Update(ctx context.Context, f func(fhir.Change) error) error {
	if s.left.Add(-1) >= 0 {
		return errors.New("no commit now")
	}
	err := s.Store.Update(ctx, f)
	s.stored <- struct{}{}
	return err
}

// The record of a read that could not be stored is stored when the store is back,
// although nobody asks for anything and although the service ends meanwhile.
func TestAuditRecordsAreStoredLater(t *testing.T) {
	for _, row := range []struct {
		name  string
		close bool
	}{
		{"by time", false},
		{"at the end", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			store := &failing{
				Store:  openStore(t),
				stored: make(chan struct{}, 10),
			}
			failed := make(chan struct{}, 100)
			s, err := fhir.New(fhir.Config{
				PublicBase:  publicBase,
				PrivateBase: privateBase,
				Store:       store,
				Authorize:   authorize,
				Now:         time.Now,
				Failed:      func(*http.Request, error) { failed <- struct{}{} },
			})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()

			store.left.Store(2)
			r := httptest.NewRequest("GET", publicBase+"/Patient", nil)
			r.Header.Set("Authorization", "Bearer system/Patient.rs")
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			if w.Code != 200 {
				t.Fatalf("%d %s", w.Code, w.Body)
			}

			if row.close {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}

			<-failed
			<-failed
			<-store.stored
		})
	}
}
