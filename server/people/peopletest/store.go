// Package peopletest holds the test that every people.Store must pass.
package peopletest

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"testing"
	"time"

	"fhirdest.example/server/people"
)

// Subject is a store under test.
type Subject struct {
	Store people.Store
	// Reopen closes the store and opens it again on the same data.
	Reopen func(*testing.T) people.Store
	// FailCommits has every commit fail from now on, or succeed again.
	FailCommits func(fail bool)
	// Second opens another handle to the same data; nil when the store allows one
	// handle only.
	Second func(*testing.T) people.Store
}

// Start is the time at which every test begins.
var Start = time.Unix(1_800_000_000, 0).UTC()

// Run tests a store; open makes an empty one, for each part anew.
func Run(t *testing.T, open func(*testing.T) Subject) {
	for _, part := range []struct {
		name string
		test func(*testing.T, Subject)
	}{
		{"a session from sign-in to sign-out", testSession},
		{"sessions that are over are removed", testSweep},
		{"decisions", testConsent},
		{"everything is there after a restart", testReopen},
		{"a caller that has gone", testCancelled},
		{"a commit that fails", testFailedCommit},
		{"many at once", testTogether},
		{"what one handle changes is in force at the other on the next request", testSecond},
	} {
		t.Run(part.name, func(t *testing.T) { part.test(t, open(t)) })
	}
}

func session(n byte) people.Session {
	return people.Session{
		ID:          people.SessionID{n, 1, 2, 3},
		Subject:     "person",
		IdP:         "https://idp.test",
		IdPSubject:  "elsewhere",
		SignedIn:    Start,
		LastRequest: Start,
		AuthTime:    Start.Add(-time.Hour),
		Password:    "digest",
	}
}

func consent() people.Consent {
	return people.Consent{
		Subject: "person",
		Client:  "client",
		Shown:   "digest",
		Asked:   []string{"a", "b"},
		Scope:   []string{"a"},
		Given:   Start,
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// expect fails unless a session is as given; nil: there is none.
func expect(t *testing.T, s people.Store, id people.SessionID, want *people.Session) {
	t.Helper()
	got, err := s.Session(t.Context(), id)
	must(t, err)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("session %+v, want %+v", got, want)
	}
}

func expectConsent(t *testing.T, s people.Store, want *people.Consent) {
	t.Helper()
	got, err := s.Consent(t.Context(), "person", "client")
	must(t, err)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("decision %+v, want %+v", got, want)
	}
}

func testSession(t *testing.T, s Subject) {
	ctx, one, two := t.Context(), session(1), session(2)
	expect(t, s.Store, one.ID, nil)
	must(t, s.Store.StartSession(ctx, one, people.SessionID{}))
	expect(t, s.Store, one.ID, &one)

	one.LastRequest = Start.Add(time.Minute)
	must(t, s.Store.UseSession(ctx, one.ID, one.LastRequest))
	expect(t, s.Store, one.ID, &one)
	must(t, s.Store.UseSession(ctx, one.ID, Start)) // earlier: another request was faster
	expect(t, s.Store, one.ID, &one)

	must(t, s.Store.StartSession(ctx, two, one.ID))
	expect(t, s.Store, one.ID, nil)
	expect(t, s.Store, two.ID, &two)
	must(t, s.Store.UseSession(ctx, one.ID, Start.Add(time.Hour)))
	expect(t, s.Store, one.ID, nil)

	must(t, s.Store.EndSession(ctx, two.ID))
	expect(t, s.Store, two.ID, nil)
	must(t, s.Store.EndSession(ctx, two.ID))
}

func testSweep(t *testing.T, s Subject) {
	ctx, old, idle, later := t.Context(), session(1), session(2), session(3)
	must(t, s.Store.StartSession(ctx, old, people.SessionID{}))
	idle.SignedIn = Start.Add(people.Idle)
	idle.LastRequest = idle.SignedIn
	must(t, s.Store.StartSession(ctx, idle, people.SessionID{}))

	later.SignedIn = Start.Add(people.Life)
	later.LastRequest = later.SignedIn
	must(t, s.Store.StartSession(ctx, later, people.SessionID{}))
	expect(t, s.Store, idle.ID, &idle) // access may depend on it
	expect(t, s.Store, later.ID, &later)
	if got, err := s.Store.Session(ctx, old.ID); err != nil || got != nil && !got.Over(later.SignedIn) {
		t.Errorf("session %+v, %v: neither removed nor over", got, err)
	}
}

func testConsent(t *testing.T, s Subject) {
	ctx, c := t.Context(), consent()
	expectConsent(t, s.Store, nil)
	must(t, s.Store.Remember(ctx, c))
	expectConsent(t, s.Store, &c)

	c.Scope = []string{"b"}
	must(t, s.Store.Remember(ctx, c))
	expectConsent(t, s.Store, &c)

	other := consent()
	other.Subject = "person2"
	must(t, s.Store.Remember(ctx, other))
	must(t, s.Store.Forget(ctx, "person2", "client"))
	must(t, s.Store.Forget(ctx, "person", "client2"))
	expectConsent(t, s.Store, &c)

	must(t, s.Store.Forget(ctx, "person", "client"))
	expectConsent(t, s.Store, nil)
}

func testReopen(t *testing.T, s Subject) {
	one, two, c := session(1), session(2), consent()
	must(t, s.Store.StartSession(t.Context(), one, people.SessionID{}))
	must(t, s.Store.StartSession(t.Context(), two, people.SessionID{}))
	must(t, s.Store.EndSession(t.Context(), two.ID))
	must(t, s.Store.Remember(t.Context(), c))

	again := s.Reopen(t)
	expect(t, again, one.ID, &one)
	expect(t, again, two.ID, nil)
	expectConsent(t, again, &c)
}

// calls are all methods that change something.
func calls(s people.Store) map[string]func(context.Context) error {
	one := session(1)
	return map[string]func(context.Context) error{
		"StartSession": func(ctx context.Context) error { return s.StartSession(ctx, session(9), one.ID) },
		"UseSession":   func(ctx context.Context) error { return s.UseSession(ctx, one.ID, Start.Add(time.Hour)) },
		"EndSession":   func(ctx context.Context) error { return s.EndSession(ctx, one.ID) },
		"Remember": func(ctx context.Context) error {
			c := consent()
			c.Scope = nil
			return s.Remember(ctx, c)
		},
		"Forget": func(ctx context.Context) error { return s.Forget(ctx, "person", "client") },
	}
}

func testCancelled(t *testing.T, s Subject) {
	one, c := session(1), consent()
	must(t, s.Store.StartSession(t.Context(), one, people.SessionID{}))
	must(t, s.Store.Remember(t.Context(), c))

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	all := calls(s.Store)
	all["Session"] = func(ctx context.Context) error {
		_, err := s.Store.Session(ctx, one.ID)
		return err
	}
	all["Consent"] = func(ctx context.Context) error {
		_, err := s.Store.Consent(ctx, "person", "client")
		return err
	}

	for name, call := range all {
		if err := call(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want the context's error", name, err)
		}
	}

	expect(t, s.Store, one.ID, &one)
	expect(t, s.Store, session(9).ID, nil)
	expectConsent(t, s.Store, &c)
}

func testFailedCommit(t *testing.T, s Subject) {
	one, c := session(1), consent()
	must(t, s.Store.StartSession(t.Context(), one, people.SessionID{}))
	must(t, s.Store.Remember(t.Context(), c))

	s.FailCommits(true)
	for name, call := range calls(s.Store) {
		if call(t.Context()) == nil {
			t.Errorf("%s reports success though the commit failed", name)
		}
	}

	s.FailCommits(false)
	expect(t, s.Store, one.ID, &one)
	expectConsent(t, s.Store, &c)

	for name, call := range calls(s.Store) {
		if err := call(t.Context()); err != nil {
			t.Errorf("%s, made again: %v", name, err)
		}
	}
}

func testSecond(t *testing.T, s Subject) {
	first, other := s.Store, s.Store
	if s.Second != nil {
		other = s.Second(t)
	}
	ctx, one, c := t.Context(), session(1), consent()
	for range 2 {
		must(t, first.StartSession(ctx, one, people.SessionID{}))
		must(t, first.Remember(ctx, c))
		expect(t, other, one.ID, &one)
		expectConsent(t, other, &c)

		used := one
		used.LastRequest = Start.Add(time.Minute)
		must(t, other.UseSession(ctx, one.ID, used.LastRequest))
		expect(t, first, one.ID, &used)

		must(t, first.EndSession(ctx, one.ID))
		must(t, first.Forget(ctx, c.Subject, c.Client))
		expect(t, other, one.ID, nil)
		expectConsent(t, other, nil)
		first, other = other, first
	}
}

func testTogether(t *testing.T, s Subject) {
	var all sync.WaitGroup
	for n := range byte(50) {
		all.Go(func() {
			one := session(100 + n)
			err := s.Store.StartSession(t.Context(), one, people.SessionID{})
			err = errors.Join(err, s.Store.UseSession(t.Context(), one.ID, Start.Add(time.Second)))
			if n%2 == 0 {
				err = errors.Join(err, s.Store.EndSession(t.Context(), one.ID))
			}
			if err != nil {
				t.Error(err)
			}
		})
	}

	all.Wait()
	for n := range byte(50) {
		one := session(100 + n)
		one.LastRequest = Start.Add(time.Second)
		if n%2 == 0 {
			expect(t, s.Store, one.ID, nil)
			continue
		}
		expect(t, s.Store, one.ID, &one)
	}
}
