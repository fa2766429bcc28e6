// Package tieredtest has the test that every store of package tiered must pass.
package tieredtest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fhirdest.example/server/tiered"
)

// TestStore tests a store. open opens the store of one test, empty at first; when it
// is called again, after the former has been closed, it opens the same one.
func TestStore(t *testing.T, open func(t *testing.T) (store tiered.Store, close func())) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, *env)
	}{
		{"a trip ends once", tripEndsOnce},
		{"a trip ends once, however many try", tripEndsOnceAtOnce},
		{"trips are bounded", tripsBounded},
		{"memberships", memberships},
		{"a cancelled context", cancelled},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := &env{
				open: func() (tiered.Store, func()) { return open(t) },
				now:  time.Now().Truncate(time.Minute),
			}
			e.Store, e.close = e.open()
			test.run(t, e)
			e.close()
		})
	}
}

// env is a store that can be closed and opened again.
type env struct {
	tiered.Store
	open  func() (tiered.Store, func())
	close func()
	now   time.Time
}

func (e *env) reopen() {
	e.close()
	e.Store, e.close = e.open()
}

// trip is the n-th trip; all of them end in the same minute.
func (e *env) trip(n int) tiered.Trip {
	name := strconv.Itoa(n)
	return tiered.Trip{
		ID:       sha256.Sum256([]byte(name)),
		Provider: "https://idp.test/" + name,
		ClientID: "client",
		State:    sha256.Sum256([]byte("state " + name)),
		Query:    strings.Repeat("scope=openid&", 400) + name,
		Expires:  e.now.Add(10 * time.Minute),
	}
}

func (e *env) begin(t *testing.T, trip tiered.Trip) {
	t.Helper()
	if err := e.BeginTrip(context.Background(), trip, e.now); err != nil {
		t.Fatal(err)
	}
}

func (e *env) end(t *testing.T, trip tiered.Trip) *tiered.Trip {
	t.Helper()
	got, err := e.EndTrip(context.Background(), trip.ID, trip.Expires)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// A trip that was begun is found after a restart, whole, and once.
func tripEndsOnce(t *testing.T, e *env) {
	one, two := e.trip(1), e.trip(2)
	e.begin(t, one)
	e.begin(t, two)
	e.reopen()
	if got := e.end(t, one); got == nil || *got != one {
		t.Errorf("found %+v, want %+v", got, one)
	}
	if got := e.end(t, one); got != nil {
		t.Error("a trip ended twice")
	}

	e.reopen()
	if got := e.end(t, one); got != nil {
		t.Error("a trip ended again after a restart")
	}

	other := two
	other.Expires = two.Expires.Add(time.Minute)
	if e.end(t, other) != nil {
		t.Error("found under another time")
	}
	if e.end(t, two) == nil {
		t.Error("the end of one trip ended another")
	}

	if e.end(t, e.trip(3)) != nil {
		t.Error("a trip that was never begun ended")
	}
}

func tripEndsOnceAtOnce(t *testing.T, e *env) {
	trip := e.trip(1)
	e.begin(t, trip)
	var got atomic.Int32
	var wg sync.WaitGroup

	for range 50 {
		wg.Go(func() {
			if ended, err := e.EndTrip(
				context.Background(),
				trip.ID,
				trip.Expires,
			); err != nil {
				t.Error(err)
			} else if ended != nil {
				got.Add(1)
			}
		})
	}

	wg.Wait()
	if got.Load() != 1 {
		t.Errorf("%d callers got the trip", got.Load())
	}
}

// No more than MaxTrips end in one minute; those of another minute have room.
func tripsBounded(t *testing.T, e *env) {
	var wg sync.WaitGroup
	for n := range tiered.MaxTrips {
		wg.Go(func() {
			trip := e.trip(n)
			trip.Query = ""
			if err := e.BeginTrip(context.Background(), trip, e.now); err != nil {
				t.Error(err)
			}
		})
	}

	wg.Wait()
	further := e.trip(tiered.MaxTrips)
	if err := e.BeginTrip(
		context.Background(),
		further,
		e.now,
	); !errors.Is(err, tiered.ErrFull) {
		t.Errorf("one more: %v", err)
	}

	further.Expires = further.Expires.Add(time.Minute)
	e.begin(t, further)
	if e.end(t, further) == nil {
		t.Error("the trip of another minute is not there")
	}
}

func memberships(t *testing.T, e *env) {
	ctx := context.Background()
	for n := range 2 {
		provider := fmt.Sprintf("https://idp%d.test", n)
		if m, err := e.Membership(ctx, provider); m != nil || err != nil {
			t.Errorf("before: %+v, %v", m, err)
		}
		if err := e.Join(ctx, tiered.Membership{
			Provider: provider,
			ClientID: "first",
		}); err != nil {
			t.Fatal(err)
		}
	}

	want := tiered.Membership{
		Provider:    "https://idp0.test",
		Client:      "https://ours.test",
		RedirectURI: "https://ours.test/callback",
		Scope:       "openid udap",
		ClientID:    "second",
		Registered:  e.now.UTC(),
	}
	if err := e.Join(ctx, want); err != nil {
		t.Fatal(err)
	}

	e.reopen()
	if m, err := e.Membership(ctx, want.Provider); err != nil || m == nil || *m != want {
		t.Errorf("after a restart: %+v, %v", m, err)
	}
	if m, err := e.Membership(ctx, "https://idp1.test"); err != nil || m == nil || m.ClientID != "first" {
		t.Errorf("another provider: %+v, %v", m, err)
	}
}

// Nothing is stored for a caller who has gone.
func cancelled(t *testing.T, e *env) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	trip := e.trip(1)
	if err := e.BeginTrip(ctx, trip, e.now); !errors.Is(err, context.Canceled) {
		t.Errorf("begin: %v", err)
	}
	if _, err := e.EndTrip(
		ctx,
		trip.ID,
		trip.Expires,
	); !errors.Is(err, context.Canceled) {
		t.Errorf("end: %v", err)
	}

	if err := e.Join(ctx, tiered.Membership{Provider: "https://idp.test"}); !errors.Is(err, context.Canceled) {
		t.Errorf("join: %v", err)
	}
	if e.end(t, trip) != nil {
		t.Error("it was stored")
	}
}
