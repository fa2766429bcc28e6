package fhirtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/search"
)

// handles returns all handles that the store allows.
func handles(t *testing.T, sub Subject) []fhir.Store {
	all := []fhir.Store{sub.Store}
	if sub.Second != nil {
		all = append(all, sub.Second(t))
	}
	return all
}

// nextRequest: what was changed by one handle is seen by the next view of each, in the
// resources and in the index, whatever was read before.
func nextRequest(t *testing.T, sub Subject) {
	all := handles(t, sub)
	rnd := rand.New(rand.NewPCG(1, 2))
	codes := []string{"final", "amended", "preliminary"}
	var docs []uint64
	var versions []uint64
	var statuses []string

	for step := range 150 {
		by := all[rnd.IntN(len(all))]
		code := codes[rnd.IntN(len(codes))]
		i := rnd.IntN(len(docs) + 1)
		switch {
		case step%40 == 39:
			reindexAll(t, by, docs, statuses)
		case i == len(docs):
			id := fmt.Sprint("o", i)
			docs = append(docs, put(t, by, Entry(t, 0, "Observation", id, 1, code)))
			versions = append(versions, 1)
			statuses = append(statuses, code)
		default:
			versions[i]++
			statuses[i] = code
			put(t, by, Entry(t, docs[i], "Observation", fmt.Sprint("o", i), versions[i], code))
		}

		for _, s := range all {
			view(t, s, func(sn fhir.Snapshot) {
				for _, code := range codes {
					var want []uint64
					for i := range docs {
						if statuses[i] == code {
							want = append(want, docs[i])
						}
					}
					if got := status(t, sn, code); !slices.Equal(got, want) {
						t.Fatalf("step %d: %s has %v, want %v", step, code, got, want)
					}
				}
				for i := range docs {
					e := named(t, sn, fmt.Sprint("o", i))
					if e.Doc != docs[i] || e.Version != versions[i] {
						t.Fatalf("step %d: o%d has number %d and version %d", step, i, e.Doc, e.Version)
					}
				}
			})
		}
	}
}

// reindexAll makes the index anew.
func reindexAll(t *testing.T, s fhir.Store, docs []uint64, statuses []string) {
	t.Helper()
	update(t, s, func(c fhir.Change) error {
		if err := c.DropIndex(t.Context()); err != nil {
			return err
		}
		for i, doc := range docs {
			e := Entry(t, doc, "Observation", fmt.Sprint("o", i), 1, statuses[i])
			if err := c.Reindex(t.Context(), doc, e.Terms); err != nil {
				return err
			}
		}
		return nil
	})
}

// named reads an Observation by its id.
func named(t *testing.T, sn fhir.Snapshot, id string) fhir.Entry {
	t.Helper()
	doc, ok, err := sn.Lookup(t.Context(), "Observation", id)
	if err != nil || !ok {
		t.Fatalf("%s: %v, %v", id, ok, err)
	}
	e, ok, err := sn.Entry(t.Context(), doc)
	if err != nil || !ok {
		t.Fatalf("%s: %v, %v", id, ok, err)
	}
	return e
}

// oneState: a view sees one state, from its first question to its last, while every
// handle changes things: of two resources that are always changed together, the same
// version, and what the index has of them.
func oneState(t *testing.T, sub Subject) {
	const rounds = 100
	all := handles(t, sub)
	a := put(t, sub.Store, Entry(t, 0, "Observation", "a", 1, "final"))
	b := put(t, sub.Store, Entry(t, 0, "Observation", "b", 1, "final"))

	var writing, reading sync.WaitGroup
	for _, s := range all {
		writing.Go(func() {
			for range rounds {
				err := s.Update(context.Background(), func(c fhir.Change) error {
					return nextPair(t, c, a, b)
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}

	ctx, stop := context.WithCancel(t.Context())
	for n := range 4 {
		s := all[n%len(all)]
		reading.Go(func() {
			for ctx.Err() == nil {
				samePair(t, s, n < 2)
			}
		})
	}
	writing.Wait()
	stop()
	reading.Wait()

	for _, s := range all {
		view(t, s, func(sn fhir.Snapshot) {
			if got := named(t, sn, "a").Version; got != uint64(1+rounds*len(all)) {
				t.Errorf("version %d", got)
			}
		})
	}
}

// nextPair stores the next version of both.
func nextPair(t *testing.T, c fhir.Change, a, b uint64) error {
	e, _, err := c.Entry(context.Background(), a)
	if err != nil {
		return err
	}
	code := []string{"final", "amended"}[(e.Version+1)%2] // see samePair
	for id, doc := range map[string]uint64{"a": a, "b": b} {
		if _, err := c.Put(context.Background(), Entry(t, doc, "Observation", id, e.Version+1, code)); err != nil {
			return err
		}
	}
	return nil
}

// samePair reads both, and what the index has, in either order.
func samePair(t *testing.T, s fhir.Store, indexFirst bool) {
	var found int
	var one, other uint64
	err := s.View(t.Context(), func(sn fhir.Snapshot) error {
		var errs [4]error
		if indexFirst {
			found, errs[0] = finals(sn)
		}
		one, errs[1] = versionOf(sn, "a")
		other, errs[2] = versionOf(sn, "b")
		if !indexFirst {
			found, errs[3] = finals(sn)
		}
		return errors.Join(errs[:]...)
	})

	want := 2 // of the first version, and of every even one
	if one%2 == 1 && one > 1 {
		want = 0
	}
	if err != nil || one != other || found != want {
		t.Errorf("versions %d and %d, %d of them final, %v", one, other, found, err)
	}
}

// finals counts the Observations that are final.
func finals(sn fhir.Snapshot) (int, error) {
	q, err := new(search.Parser).Parse(context.Background(), []string{"Observation"}, []search.Pair{{
		Name:  "status",
		Value: "final",
	}}, true)
	if err != nil {
		return 0, err
	}

	all := func(string) search.Filter { return search.Everything() }
	r, err := search.NewFinder(context.Background(), sn, all, all).Find(q)
	if err != nil {
		return 0, err
	}
	return len(r.Docs), nil
}

// versionOf returns the version of an Observation.
func versionOf(sn fhir.Snapshot, id string) (uint64, error) {
	doc, _, err := sn.Lookup(context.Background(), "Observation", id)
	if err != nil {
		return 0, err
	}
	e, _, err := sn.Entry(context.Background(), doc)
	return e.Version, err
}

// own: a change sees what it has written itself.
func own(t *testing.T, s fhir.Store) {
	a := put(t, s, Entry(t, 0, "Observation", "a", 1, "final"))
	update(t, s, func(c fhir.Change) error {
		ctx := t.Context()
		_, changed := c.Put(ctx, Entry(t, a, "Observation", "a", 2, "amended"))
		b, made := c.Put(ctx, Entry(t, 0, "Observation", "b", 1, "final"))
		set := c.SetSetting(ctx, "name", []byte("value"))

		got := map[uint64]uint64{}
		listed := c.Each(ctx, 0, func(e fhir.Entry) bool {
			got[e.Doc] = e.Version
			return true
		})
		if len(got) != 2 || got[a] != 2 || got[b] != 1 {
			t.Errorf("the versions of all resources: %v", got)
		}

		value, read := c.Setting(ctx, "name")
		if string(value) != "value" {
			t.Errorf("a setting: %q", value)
		}
		return errors.Join(changed, made, set, listed, read)
	})
}
