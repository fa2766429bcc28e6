package fhir_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/trail"
)

// forgetful is a store that cannot store records while it is full.
type forgetful struct {
	fhir.Store
	full    atomic.Bool
	updates atomic.Int64
}

type forgetfulChange struct {
	fhir.Change
	store *forgetful
}

func (s *forgetful) Update(ctx context.Context, f func(fhir.Change) error) error {
	s.updates.Add(1)
	return s.Store.Update(ctx, func(c fhir.Change) error {
		return f(forgetfulChange{c, s})
	})
}

func (c forgetfulChange) Append(ctx context.Context, records []trail.Record) error {
	if c.store.full.Load() {
		return fhir.ErrUnavailable
	}
	return c.Change.Append(ctx, records)
}

// status does a request, and returns the status of the answer.
func status(h http.Handler, method, path, body string) int {
	r := httptest.NewRequest(method, "/acme/fhir"+path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+everything)
	r.Header.Set("Content-Type", "application/fhir+json")
	a := httptest.NewRecorder()
	h.ServeHTTP(a, r)
	return a.Code
}

// What cannot be recorded is not done: a change is not stored, and once the record of a
// read could not be stored, nothing is read until it is.
//
// Covers: FS-413, FS-414
func TestWhatCannotBeRecordedFails(t *testing.T) {
	for _, row := range []struct{ method, path, body string }{
		{"POST", "/Patient", anna},
		{"PUT", "/Patient/p", `{"resourceType":"Patient","id":"p","active":true}`},
		{"DELETE", "/Patient/p", ""},
		{"POST", "", bundleOf("transaction", entryOf("POST", "Patient", anna))},
	} {
		t.Run(row.method+" "+row.path, func(t *testing.T) {
			whatCannotBeRecordedFails(t, row.method, row.path, row.body)
		})
	}
}

func whatCannotBeRecordedFails(t *testing.T, method, path, body string) {
	w := newEnv(t, 0)
	store := &forgetful{Store: w.store}
	h, err := fhir.New(fhir.Config{
		PublicBase:  publicBase,
		PrivateBase: privateBase,
		Store:       store,
		Authorize:   authorize,
		Now: func() time.Time {
			return w.now
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.h = h
	before := store.updates.Load()
	w.do("PUT", "/Patient/p", everything, `{"resourceType":"Patient","id":"p"}`).want(201)
	if n := store.updates.Load() - before; n != 1 {
		t.Errorf("a change and its record are stored in %d transactions", n)
	}

	// One failure at a time: once its record could not be stored, which is tried after a
	// while, nothing further is begun.
	store.full.Store(true)
	if code := status(h, method, path, body); code != 503 {
		t.Errorf("a change that cannot be recorded: %d", code)
	}

	if err := h.FlushAudit(); !errors.Is(err, fhir.ErrUnavailable) {
		t.Errorf("the record of the refusal: %v", err)
	}
	if code := status(h, "GET", "/Patient/p", ""); code != 503 {
		t.Errorf("a read that would not be recorded: %d", code)
	}

	store.full.Store(false)
	w.get("/Patient/p", everything).want(200)
	if n := *w.get("/Patient?_summary=count", everything).bundle().Total; n != 1 {
		t.Errorf("%d patients", n)
	}
	if n := len(w.events("outcome=8")); n != 1 {
		t.Errorf("%d records of what failed", n)
	}
}
