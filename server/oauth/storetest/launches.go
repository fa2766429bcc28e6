package storetest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fhirdest.example/server/oauth"
)

// newGrant returns a grant of a registered client, with an identifier of its own.
func newGrant(id oauth.GrantID, r *oauth.Registration, now time.Time) oauth.Grant {
	return oauth.Grant{
		ID:        id,
		ClientID:  r.ID,
		Community: r.Community,
		Client:    r.Client,
		Person:    oauth.Person{Subject: "person"},
		Scope:     []string{"launch"},
		Created:   now,
		Expires:   now.Add(time.Minute),
	}
}

// testLaunches: a launch is found by its handle and secret, also after a restart,
// and used up by exactly one grant; one that has expired is swept.
func testLaunches(t *testing.T, sub Subject) {
	s, ctx := sub.Store, t.Context()
	r, _ := register(t, s, registration("urn:a", "https://c.test/launched", "launch"))
	launch := oauth.Launch{
		Hash:      oauth.Hash{1},
		ClientID:  r.ID,
		Patient:   "1",
		Encounter: "2",
		Expires:   Start.Add(10 * time.Minute).UTC(),
	}
	h := must(s.AddLaunch(ctx, launch, Start))(t)
	if found := must(s.Launch(ctx, h, oauth.Hash{2}))(t); found != nil {
		t.Errorf("found with another secret: %+v", found)
	}
	if found := must(s.Launch(ctx, oauth.Handle{9}, launch.Hash))(t); found != nil {
		t.Errorf("found by another handle: %+v", found)
	}

	s = sub.Reopen(t)
	if found := must(s.Launch(ctx, h, launch.Hash))(t); found == nil || *found != launch {
		t.Fatalf("after a restart: %+v, want %+v", found, launch)
	}

	stale := newGrant("00000000000000000000000000000001", r, Start)
	stale.Uses = h
	changed := *r
	changed.Statement = "another"
	if err := s.Approve(ctx, stale, &changed); !errors.Is(err, oauth.ErrNoRegistration) {
		t.Errorf("a grant under another registration: %v", err)
	}

	var stored atomic.Int32
	var race sync.WaitGroup
	for i := range 20 {
		race.Go(func() {
			g := newGrant(oauth.GrantID(fmt.Sprintf("%032x", 100+i)), r, Start)
			g.Uses = h
			switch err := s.Approve(ctx, g, r); {
			case err == nil:
				stored.Add(1)
			case !errors.Is(err, oauth.ErrNoLaunch):
				t.Errorf("approve: %v", err)
			}
		})
	}
	race.Wait()

	if n := stored.Load(); n != 1 {
		t.Errorf("%d grants used one launch", n)
	}
	if found := must(s.Launch(ctx, h, launch.Hash))(t); found != nil {
		t.Error("a used launch is found")
	}

	late := must(s.AddLaunch(ctx, launch, Start))(t)
	other := launch
	other.Expires = Start.Add(time.Hour)
	must(s.AddLaunch(ctx, other, launch.Expires.Add(2*time.Minute)))(t)
	if found := must(s.Launch(ctx, late, launch.Hash))(t); found != nil {
		t.Error("an expired launch was not swept")
	}
}

// testManyLaunches: the launches that a store keeps are bounded.
func testManyLaunches(t *testing.T, sub Subject) {
	launch := oauth.Launch{
		ClientID: "1",
		Expires:  Start.Add(time.Hour),
	}
	var batch sync.WaitGroup
	for range oauth.MaxLaunches {
		batch.Go(func() {
			if _, err := sub.Store.AddLaunch(t.Context(), launch, Start); err != nil {
				t.Errorf("within the bound: %v", err)
			}
		})
	}
	batch.Wait()

	if _, err := sub.Store.AddLaunch(t.Context(), launch, Start); !errors.Is(err, oauth.ErrTooManyLaunches) {
		t.Errorf("over the bound: %v", err)
	}
	if _, err := sub.Store.AddLaunch(t.Context(), launch, Start.Add(2*time.Hour)); err != nil {
		t.Errorf("when all have expired: %v", err)
	}
}
