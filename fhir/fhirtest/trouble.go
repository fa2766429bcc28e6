package fhirtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"fhirdest.example/fhir"
)

// restart closes the store while many updates wait: whoever was answered with
// success finds the resource after the restart, and nobody else does.
func restart(t *testing.T, sub Subject) {
	const n = 60
	s := sub.Store
	failed := make([]error, n)
	var wg sync.WaitGroup
	begun := make(chan bool, n)

	for i := range n {
		e := Entry(t, 0, "Observation", fmt.Sprint("o", i), 1, "final")
		wg.Go(func() {
			begun <- true
			failed[i] = s.Update(context.Background(), func(c fhir.Change) error {
				_, err := c.Put(context.Background(), e)
				return err
			})
		})
	}

	for range n / 2 {
		<-begun
	}

	again := sub.Reopen(t)
	wg.Wait()
	view(t, again, func(sn fhir.Snapshot) {
		for i, err := range failed {
			_, ok, lookup := sn.Lookup(t.Context(), "Observation", fmt.Sprint("o", i))
			if lookup != nil || ok != (err == nil) {
				t.Errorf(
					"o%d was answered with %v, and is there: %v, %v",
					i,
					err,
					ok,
					lookup,
				)
			}
		}
	})
}

// failedCommit: the error is one after which to try again later, and nothing is
// seen of what was not stored.
func failedCommit(t *testing.T, sub Subject) {
	s := sub.Store
	doc := put(t, s, Entry(t, 0, "Observation", "a", 1, "final"))
	sub.FailCommits(true)
	err := s.Update(t.Context(), func(c fhir.Change) error {
		_, err := c.Put(t.Context(), Entry(t, doc, "Observation", "a", 2, "amended"))
		return err
	})
	if !errors.Is(err, fhir.ErrUnavailable) {
		t.Errorf("a commit that fails: %v", err)
	}

	sub.FailCommits(false)

	unchanged := func(sn fhir.Snapshot) {
		e, ok, err := sn.Entry(t.Context(), doc)
		if err != nil || !ok || e.Version != 1 || len(status(t, sn, "amended")) > 0 {
			t.Errorf("%+v, %v, %v", e, ok, err)
		}
	}
	view(t, s, unchanged)
	view(t, sub.Reopen(t), unchanged)
}

// twoHandles: what one handle has stored, the other reads. A store that allows one
// handle only must read it after it was opened again.
func twoHandles(t *testing.T, sub Subject) {
	doc := put(t, sub.Store, Entry(t, 0, "Observation", "a", 1, "final"))
	var second fhir.Store
	if sub.Second != nil {
		second = sub.Second(t)
	} else {
		second = sub.Reopen(t)
	}

	put(t, second, Entry(t, doc, "Observation", "a", 2, "amended"))

	other := put(t, second, Entry(t, 0, "Observation", "b", 1, "final"))
	view(t, second, func(sn fhir.Snapshot) {
		e, ok, err := sn.Version(t.Context(), doc, 1)
		if err != nil || !ok || e.Version != 1 || other == doc || len(status(t, sn, "amended")) != 1 {
			t.Errorf("number %d beside %d, version %+v, %v, %v", other, doc, e, ok, err)
		}
	})
}

// retried: an update that is run again sees nothing of its first run.
func retried(t *testing.T, sub Subject) {
	const n = 40
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			err := sub.Store.Update(context.Background(), func(c fhir.Change) error {
				id := fmt.Sprint("o", i)
				if _, ok, err := c.Lookup(context.Background(), "Observation", id); ok || err != nil {
					t.Errorf("%s is there already: %v, %v", id, ok, err)
				}
				if _, err := c.Put(context.Background(),
					Entry(t, 0, "Observation", id, 1, "final")); err != nil {
					return err
				}
				if i%2 == 0 {
					return errRefused // spoils whatever shares the commit
				}

				return nil
			})
			if errors.Is(err, errRefused) != (i%2 == 0) {
				t.Errorf("o%d: %v", i, err)
			}
		})
	}

	wg.Wait()

	view(t, sub.Store, func(sn fhir.Snapshot) {
		if got := len(status(t, sn, "final")); got != n/2 {
			t.Errorf("%d are indexed of %d", got, n/2)
		}
	})
}
