package postgres_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"fhirdest.example/server/oauth"
	"fhirdest.example/server/oauth/storetest"
	"fhirdest.example/server/people"
	"fhirdest.example/server/people/peopletest"
	"fhirdest.example/server/postgres"
	"fhirdest.example/server/postgres/postgrestest"
	"fhirdest.example/server/tiered"
	"fhirdest.example/server/tiered/tieredtest"
)

// trustDatabase is a database whose commits can be made to fail.
type trustDatabase struct {
	config postgres.Config
	full   atomic.Bool
	store  *postgres.Trust
}

// openTrust opens a store on a database of its own, which is closed at the end.
func openTrust(t testing.TB) *trustDatabase {
	t.Helper()
	d := &trustDatabase{}
	d.config = postgres.WithCommit(postgres.Config{
		URL:  postgrestest.New(t),
		Name: "one",
	}, func(ctx context.Context, tx pgx.Tx) error {
		if d.full.Load() {
			return errFull
		}
		return tx.Commit(ctx)
	})
	d.store = d.open(t)
	t.Cleanup(func() {
		if err := d.store.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func (d *trustDatabase) open(t testing.TB) *postgres.Trust {
	t.Helper()
	s, err := postgres.OpenTrust(context.Background(), d.config)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (d *trustDatabase) reopen(t testing.TB) *postgres.Trust {
	t.Helper()
	if err := d.store.Close(); err != nil {
		t.Fatal(err)
	}
	d.store = d.open(t)
	return d.store
}

// second opens another handle to the same database.
func (d *trustDatabase) second(t testing.TB) *postgres.Trust {
	t.Helper()
	s := d.open(t)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Covers: S2-08, S2-18, case 089, case 095, case 099, case 121, case 127, case 129,
// case 130, case 131, case 133, case 150
func TestTrust(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Subject {
		d := openTrust(t)
		return storetest.Subject{
			Store:       d.store,
			Reopen:      func(t *testing.T) oauth.Store { return d.reopen(t) },
			FailCommits: d.full.Store,
			Second:      func(t *testing.T) oauth.Store { return d.second(t) },
		}
	})
}

func TestPeople(t *testing.T) {
	peopletest.Run(t, func(t *testing.T) peopletest.Subject {
		d := openTrust(t)
		return peopletest.Subject{
			Store:       d.store.People(),
			Reopen:      func(t *testing.T) people.Store { return d.reopen(t).People() },
			FailCommits: d.full.Store,
			Second:      func(t *testing.T) people.Store { return d.second(t).People() },
		}
	})
}

// The bound of trips holds for two destinations together, and a trip that was begun at
// one ends once, at whichever.
func TestTripsOfTwo(t *testing.T) {
	d := openTrust(t)
	stores := []tiered.Store{postgres.Trips{Trust: d.store}, postgres.Trips{Trust: d.second(t)}}
	now := time.Now().Truncate(time.Minute)
	trip := func(i int) tiered.Trip {
		return tiered.Trip{
			ID:      sha256.Sum256(fmt.Append(nil, i)),
			Query:   "scope=openid",
			Expires: now.Add(10 * time.Minute),
		}
	}

	var begun, ended atomic.Int32
	var all sync.WaitGroup
	for i := range tiered.MaxTrips + 100 {
		all.Go(func() {
			switch err := stores[i%2].BeginTrip(t.Context(), trip(i), now); {
			case err == nil:
				begun.Add(1)
			case !errors.Is(err, tiered.ErrFull):
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := begun.Load(); n != tiered.MaxTrips {
		t.Errorf("%d trips were begun", n)
	}

	later := trip(-1)
	later.Expires = now.Add(11 * time.Minute)
	if err := stores[0].BeginTrip(t.Context(), later, now); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		all.Go(func() {
			got, err := stores[i%2].EndTrip(t.Context(), later.ID, later.Expires)
			if got != nil {
				ended.Add(1)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := ended.Load(); n != 1 {
		t.Errorf("one trip ended %d times", n)
	}
}

func TestTrips(t *testing.T) {
	databases := map[string]*trustDatabase{}
	tieredtest.TestStore(t, func(t *testing.T) (tiered.Store, func()) {
		d := databases[t.Name()]
		if d == nil {
			d = openTrust(t)
			databases[t.Name()] = d
		} else {
			d.store = d.open(t)
		}
		return postgres.Trips{Trust: d.store}, func() {
			if err := d.store.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestExpiringRegistrations(t *testing.T) {
	d := openTrust(t)
	storetest.TestExpiring(t, d.store, func() storetest.ExpiringStore { return d.reopen(t) })
}

// What one caller has written is committed even if the work of another, which only
// reads, is what had it sent.
func TestTrustSentIsCommitted(t *testing.T) {
	h := newHolder(t)
	want := people.Consent{
		Subject: "person",
		Client:  "client",
	}
	h.batch(2, func(i int) {
		var err error
		if i == 0 {
			err = h.store.People().Remember(t.Context(), want)
		} else {
			err = h.store.People().UseSession(t.Context(), people.SessionID{1}, storetest.Start)
		}
		if err != nil {
			t.Error(err)
		}
	})()

	got, err := h.store.People().Consent(t.Context(), want.Subject, want.Client)
	if err != nil || got == nil {
		t.Errorf("what was answered with success: %+v, %v", got, err)
	}
}
