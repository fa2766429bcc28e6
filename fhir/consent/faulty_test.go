package consent_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/async/asyncenv"
	"fhirdest.example/fhir/sample"
)

// faulty is a store that fails in the midst of reading Consents, as Bolt does about a
// page that cannot be read: by a panic, of which a view makes an error.
type faulty struct {
	fhir.Store
	fails *atomic.Bool
	read  *atomic.Int64 // Consents
}

func (s faulty) View(ctx context.Context, f func(fhir.Snapshot) error) (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("a page cannot be read")
		}
	}()
	return s.Store.View(ctx, func(sn fhir.Snapshot) error {
		return f(faultySnapshot{sn, s})
	})
}

type faultySnapshot struct {
	fhir.Snapshot
	of faulty
}

func (s faultySnapshot) LastChange(ctx context.Context, typ string) (uint64, any) {
	return s.Snapshot.(fhir.Dated).LastChange(ctx, typ)
}

func (s faultySnapshot) Entries(ctx context.Context, docs []uint64, f func(fhir.Entry) bool) error {
	return s.Snapshot.Entries(ctx, docs, func(e fhir.Entry) bool {
		if e.Type == "Consent" {
			s.of.read.Add(1)
			if s.of.fails.Load() {
				panic("of a page")
			}
		}
		return f(e)
	})
}

// A store that cannot be read at one request does not keep those that follow from being
// answered by all Consents, nor from knowing them.
//
// Covers: FS-302
func TestConsentsAreKnownAfterAFault(t *testing.T) {
	fails, read := &atomic.Bool{}, &atomic.Int64{}
	e := asyncenv.New(t, func(e *asyncenv.Env) {
		e.Change = func(c *fhir.Config) {
			c.Store = faulty{
				Store: c.Store,
				fails: fails,
				read:  read,
			}
		}
	})
	e.Must(e.Service.Seed(t.Context(), 2))

	path := "/Patient/" + sample.PatientID(0)
	put(t, e, "/Consent/one", consentOf("one", "active", sample.PatientID(0), noMarketing))
	fails.Store(true)
	if w := e.Do("GET", path, marketing, ""); w.Code < 500 {
		t.Fatalf("the store has failed: %d %s", w.Code, short(w))
	}

	fails.Store(false)
	for range 2 {
		read.Store(0)
		if w := e.Do("GET", path, marketing, ""); w.Code != 404 {
			t.Errorf("after a fault: %d %s", w.Code, short(w))
		}
	}
	if n := read.Load(); n != 0 {
		t.Errorf("%d Consents were read once more", n)
	}
}
