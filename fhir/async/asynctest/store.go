// Package asynctest holds the test that every async.Store must pass.
package asynctest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/async"
	"fhirdest.example/fhir/scope"
	"fhirdest.example/fhir/search"
)

// Subject is a store under test.
type Subject struct {
	Store async.Store
	// Reopen closes the store and opens it again on the same data.
	Reopen func(*testing.T) async.Store
	// Second is another destination's store on the same data; nil where one process
	// alone may have them.
	Second async.Store
}

// any returns one of the destinations' stores.
func (s Subject) any(i int) async.Store {
	if i%2 == 1 && s.Second != nil {
		return s.Second
	}
	return s.Store
}

// StoreTest holds an empty store against what package async relies on.
func StoreTest(t *testing.T, open func(t *testing.T) Subject) {
	for name, test := range map[string]func(*testing.T, Subject){
		"a job survives a restart":        survives,
		"room":                            room,
		"room, at the same time":          roomTogether,
		"changes":                         changes,
		"removal":                         removal,
		"the oldest first":                order,
		"a context that has ended before": ended,
		"claims":                          claims,
		"claims, at the same time":        claimsTogether,
		"a lease that ends":               leases,
		"a lease that is renewed":         renewals,
		"jobs that are over":              over,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// Job makes a job of a client.
func Job(id, client string, created time.Time) async.Job {
	set, _ := scope.ParseSet([]string{"system/Observation.rs?category=laboratory", "system/Patient.read"})
	return async.Job{
		ID: id,
		Asked: fhir.Asked{
			Interaction: "$export",
			Method:      "GET",
			Path:        []string{"Group", "g", "$export"},
			Query: []search.Pair{{
				Name:  "_type",
				Value: "Patient",
			}},
			Header: map[string][]string{"Prefer": {"respond-async"}},
			Grant: &fhir.Grant{
				Client:       client,
				Scopes:       set,
				Patient:      "p",
				Subject:      "s",
				TokenID:      "t",
				Purposes:     []string{"urn:oid:1.2.3#TREAT"},
				Registration: 3,
				Expires:      created.Add(time.Hour),
				AllRecords:   true,
			},
			At: created,
		},
		State:   async.Pending,
		Created: created,
		Bytes:   7,
	}
}

var (
	noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	wide = async.Room{
		Disk:      1 << 40,
		Share:     1 << 40,
		All:       100,
		PerClient: 100,
		Active:    100,
	}
)

func create(t *testing.T, s async.Store, j async.Job, r async.Room) {
	t.Helper()
	if err := s.Create(t.Context(), j, r); err != nil {
		t.Fatal(err)
	}
}

func survives(t *testing.T, sub Subject) {
	want := Job("a", "c1", noon)
	create(t, sub.Store, want, wide)
	got, err := sub.Reopen(t).Job(t.Context(), "a")
	if text, wanted := written(t, got), written(t, want); err != nil || text != wanted {
		t.Errorf("%v\n got %s\nwant %s", err, text, wanted)
	}
}

func written(t *testing.T, j async.Job) string {
	t.Helper()
	b, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func room(t *testing.T, sub Subject) {
	s := sub.Store
	r := async.Room{
		All:       4,
		Disk:      1 << 40,
		Share:     1 << 40,
		PerClient: 3,
		Active:    2,
	}
	create(t, s, Job("a", "c1", noon), r)
	create(t, s, Job("b", "c1", noon), r)

	for step, want := range []error{async.ErrClientFull, nil, async.ErrClientFull} {
		if err := s.Create(t.Context(), Job(fmt.Sprint("c", step), "c1", noon), r); !errors.Is(err, want) {
			t.Errorf("step %d: %v, want %v", step, err, want)
		}
		_ = s.Update(t.Context(), "a", func(j *async.Job) error { // one that has ended leaves room for another
			j.State, j.Ended = async.Done, noon
			return nil
		})
	}

	create(t, s, Job("d", "c2", noon), r)
	if err := s.Create(t.Context(), Job("e", "c3", noon), r); !errors.Is(err, async.ErrFull) {
		t.Errorf("over all: %v", err)
	}
}

func roomTogether(t *testing.T, sub Subject) {
	const n = 20
	r := async.Room{
		All:       100,
		Disk:      1 << 40,
		Share:     1 << 40,
		PerClient: 100,
		Active:    5,
	}

	var work sync.WaitGroup
	var mu sync.Mutex
	stored := 0

	for i := range n {
		work.Go(func() {
			if sub.any(i).Create(context.Background(), Job(fmt.Sprint("j", i), "c1", noon), r) == nil {
				mu.Lock()
				stored++
				mu.Unlock()
			}
		})
	}

	work.Wait()
	if stored != r.Active {
		t.Errorf("%d of %d jobs were stored, want %d", stored, n, r.Active)
	}
}

func changes(t *testing.T, sub Subject) {
	create(t, sub.Store, Job("a", "c1", noon), wide)
	err := sub.Store.Update(t.Context(), "a", func(j *async.Job) error {
		j.State, j.Ended, j.Expires = async.Failed, noon, noon.Add(time.Hour)
		j.Files = []async.Made{{
			Name:        "1.ndjson",
			ContentType: "application/fhir+ndjson",
			Count:       5,
		}}

		j.Failure = &async.Failure{
			Status: 413,
			Code:   "too-costly",
			Text:   "Too long.",
		}

		return nil
	})
	if err != nil {
		t.Fatal(err)
	}

	refused := errors.New("refused")
	if err := sub.Store.Update(t.Context(), "a", func(j *async.Job) error {
		j.State = async.Running
		return refused
	}); !errors.Is(err, refused) {
		t.Errorf("a change that refuses itself: %v", err)
	}

	got, err := sub.Reopen(t).Job(t.Context(), "a")
	if err != nil || got.State != async.Failed || got.Failure == nil || got.Failure.Status != 413 ||
		len(got.Files) != 1 || !got.Expires.Equal(noon.Add(time.Hour)) {
		t.Errorf("%v %+v", err, got)
	}
}

func removal(t *testing.T, sub Subject) {
	s := sub.Store
	create(t, s, Job("a", "c1", noon), wide)
	for _, want := range []error{nil, async.ErrNoJob} {
		if err := s.Remove(t.Context(), "a"); !errors.Is(err, want) {
			t.Errorf("removed: %v, want %v", err, want)
		}
	}

	s = sub.Reopen(t)
	if _, err := s.Job(t.Context(), "a"); !errors.Is(err, async.ErrNoJob) {
		t.Errorf("read: %v", err)
	}
	if err := s.Update(t.Context(), "a", func(*async.Job) error { return nil }); !errors.Is(err, async.ErrNoJob) {
		t.Errorf("changed: %v", err)
	}
}

func order(t *testing.T, sub Subject) {
	for i, id := range []string{"c", "a", "b"} {
		create(t, sub.Store, Job(id, "c1", noon.Add(time.Duration(i)*time.Second)), wide)
	}
	got := ""
	err := sub.Reopen(t).Jobs(t.Context(), func(j async.Job) bool {
		got += j.ID
		return j.ID != "a"
	})
	if err != nil || got != "ca" {
		t.Errorf("%v %q", err, got)
	}
}

func ended(t *testing.T, sub Subject) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := sub.Store.Create(ctx, Job("a", "c1", noon), wide); !errors.Is(err, context.Canceled) {
		t.Errorf("created: %v", err)
	}
	if _, err := sub.Store.Job(t.Context(), "a"); !errors.Is(err, async.ErrNoJob) {
		t.Errorf("and is there: %v", err)
	}
}
