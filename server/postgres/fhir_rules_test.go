package postgres_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"sync"
	"testing"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/scope"
	"fhirdest.example/server/postgres"
	"fhirdest.example/server/postgres/postgrestest"
)

// newService starts a FHIR service on a store, to whose requests everything is allowed.
func newService(t testing.TB, s fhir.Store) (*fhir.Service, error) {
	t.Helper()
	scopes, _ := scope.ParseSet([]string{"system/*.cruds"})
	h, err := fhir.New(fhir.Config{
		PublicBase: "https://fhir.test/fhir",
		Store:      s,
		Now:        time.Now,
		Authorize: func(*http.Request) (*fhir.Grant, *fhir.Denial) {
			return &fhir.Grant{
				Scopes: scopes,
				Client: "client-1",
			}, nil
		},
	})
	if err == nil {
		t.Cleanup(func() {
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return h, err
}

// total returns the status of a search and how many resources it finds.
func total(h http.Handler, query string) string {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "https://fhir.test/fhir/"+query, nil))
	return fmt.Sprint(w.Code, " ", regexp.MustCompile(`"total":\d+`).FindString(w.Body.String()))
}

// An index that was made by other rules is made anew by all destinations that start,
// together. One that was running, and did not have these rules, serves nothing
// meanwhile, and goes on when the index is by its own rules.
func TestIndexMadeAnewByTwo(t *testing.T) {
	at := postgrestest.New(t)
	running := openFHIR(t, postgres.Config{URL: at, Name: "running"})
	h, err := newService(t, running)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Seed(t.Context(), 12); err != nil {
		t.Fatal(err)
	}
	const query = "Observation?code=8867-4&_summary=count"
	want := total(h, query)

	other := openFHIR(t, postgres.Config{URL: at, Name: "other version"})
	err = other.Update(t.Context(), func(c fhir.Change) error {
		return errors.Join(
			c.DropIndex(t.Context()),
			c.SetSetting(t.Context(), fhir.IndexSetting, make([]byte, 8)),
		)
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := total(h, query); got != "503 " {
		t.Errorf("while the index is by other rules: %s", got)
	}
	if err := putObservation(t, running, "x", 0); !errors.Is(err, fhir.ErrUnavailable) {
		t.Errorf("a change by other rules: %v", err)
	}

	var starting sync.WaitGroup
	for n := range 2 {
		s := openFHIR(t, postgres.Config{URL: at, Name: fmt.Sprint("starting ", n)})
		starting.Go(func() {
			again, err := newService(t, s)
			if err != nil {
				t.Error(err)
				return
			}
			if got := total(again, query); got != want {
				t.Errorf("after the start: %s, want %s", got, want)
			}
		})
	}
	starting.Wait()
	if got := total(h, query); got != want {
		t.Errorf("at the one that was running: %s, want %s", got, want)
	}
}
