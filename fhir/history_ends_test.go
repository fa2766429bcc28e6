package fhir_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"fhirdest.example/fhir"
)

// leaving is a store whose reader goes away after it has read some versions.
type leaving struct {
	fhir.Store
	after int
	leave context.CancelFunc
}

func (s *leaving) View(ctx context.Context, f func(fhir.Snapshot) error) error {
	return s.Store.View(ctx, func(sn fhir.Snapshot) error { return f(leavingSnapshot{sn, s}) })
}

type leavingSnapshot struct {
	fhir.Snapshot
	store *leaving
}

func (s leavingSnapshot) Version(ctx context.Context, doc, version uint64) (fhir.Entry, bool, error) {
	if s.store.after--; s.store.after == 0 {
		s.store.leave()
	}
	return s.Snapshot.Version(ctx, doc, version)
}

// Each version is read to find one that may be seen: of a resource with very many,
// none of them the reader's, no longer than the request lasts.
func TestHistoryOfUnseenVersionsEndsWithTheRequest(t *testing.T) {
	w := newEnv(t, 0)
	const versions = 20
	for i := range versions {
		w.do("PUT", "/Basic/x", everything, fmt.Sprintf(`{"resourceType":"Basic","id":"x","code":{"text":"%d"}}`, i))
	}

	for name, c := range map[string]struct{ after, left, status int }{
		"to the end": {1000, 1000 - versions, http.StatusNotFound},
		"cut short":  {5, 0, http.StatusServiceUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			store := &leaving{w.store, c.after, leave}
			s, err := fhir.New(fhir.Config{PublicBase: publicBase, Store: store, Authorize: authorize, Now: time.Now})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()

			r := httptest.NewRequestWithContext(ctx, "GET", "/acme/fhir/Basic/x/_history", nil)
			r.Header.Set("Authorization", "Bearer patient/Basic.rs; patient=p")
			rec := httptest.NewRecorder()
			s.ServeHTTP(rec, r)
			if rec.Code != c.status || store.after != c.left {
				t.Errorf("%d, %d left, want %d, %d: %s", rec.Code, store.after, c.status, c.left, rec.Body)
			}
		})
	}
}
