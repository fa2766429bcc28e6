// Package storetest holds the test that every oauth.Store must pass.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/server/oauth"
	"fhirdest.example/udap/trace"
)

// Subject is a store under test.
type Subject struct {
	Store oauth.Store
	// Reopen closes the store and opens it again on the same data.
	Reopen func(*testing.T) oauth.Store
	// FailCommits has every commit fail from now on, or succeed again.
	FailCommits func(fail bool)
	// Second opens another handle to the same data, for as long as the first is
	// open; nil when the store allows one handle only.
	Second func(*testing.T) oauth.Store
}

// part is one part of Run.
type part struct {
	name string
	test func(*testing.T, Subject)
}

// Run tests a store; open makes an empty one, for each part anew.
func Run(t *testing.T, open func(*testing.T) Subject) {
	for _, part := range slices.Concat([]part{
		{"register, change, cancel", testLife},
		{"a change that takes rights away", testEpoch},
		{"communities are apart", testCommunities},
		{"a jti is spent once", testSpend},
		{"a refused cancel spends nothing", testRefusedCancel},
		{"a jti may come back after its end", testSpentEnds},
		{"a JWT that expired meanwhile has no effect", testExpired},
		{"a clock set back brings nothing to life", testClockSetBack},
		{"tokens", testTokens},
		{"no token for who is registered no longer", testIssueRefused},
		{"everything is there after a restart", testReopen},
		{"a restart in the midst of work", testRestart},
		{"a caller that has gone", testCancelled},
		{"a commit that fails", testFailedCommit},
		{"two handles", testTwoHandles},
		{"launches", testLaunches},
		{"many launches", testManyLaunches},
		{"one jti, many at once", testSpendRace},
		{"a proof is used up with the JWT beside it", testProof},
		{"one proof, many at once", testProofRace},
		{"one client, many changes and a cancel at once", testChangeRace},
	}, grantParts, secondParts) {
		t.Run(part.name, func(t *testing.T) { part.test(t, open(t)) })
	}
}

// Start is the time at which every test begins.
var Start = time.Unix(1_800_000_000, 0)

var number atomic.Uint64

func spend(issuer, jti string, now time.Time) oauth.Spend {
	return oauth.Spend{
		Community: "urn:a",
		Issuer:    issuer,
		JTI:       jti,
		Until:     now.Add(6 * time.Minute),
		Expires:   now.Add(5 * time.Minute),
		Endpoint:  "register",
		Now:       now,
	}
}

func fresh(issuer string, now time.Time) oauth.Spend {
	return spend(issuer, fmt.Sprint("jti-", number.Add(1)), now)
}

func registration(community, client, scope string) oauth.Registration {
	return oauth.Registration{
		ID:        trace.ClientID(fmt.Sprint("id-", number.Add(1))),
		Community: trace.CommunityURI(community),
		Client:    trace.ClientURI(client),
		Granted: oauth.Parameters{
			ClientName: "name",
			GrantTypes: []string{"client_credentials"},
			Contacts:   []string{"mailto:a@b.test"},
			Scope:      scope,
		},
		Statement: "a.b.c",
		Leaf:      []byte{1, 2},
		Created:   Start,
		Changed:   Start,
	}
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func register(t *testing.T, s oauth.Store, r oauth.Registration) (stored, previous *oauth.Registration) {
	t.Helper()
	stored, previous, err := s.Register(t.Context(), fresh(string(r.Client), Start), r)
	if err != nil {
		t.Fatal(err)
	}
	return stored, previous
}

func testLife(t *testing.T, sub Subject) {
	s, ctx := sub.Store, t.Context()
	first := registration("urn:a", "https://c.test/app", "system/Patient.rs")
	stored, previous := register(t, s, first)
	if previous != nil || stored.ID != first.ID {
		t.Fatalf("new: %+v after %+v", stored, previous)
	}
	next := registration("urn:a", "https://c.test/app", "system/Patient.rs")
	next.Granted.ClientName, next.Granted.Contacts, next.Created = "other", nil, Start.Add(time.Hour)

	changed, previous := register(t, s, next)
	if previous == nil || previous.ID != first.ID || changed.ID != first.ID ||
		!changed.Created.Equal(Start) {
		t.Fatalf("changed: %+v after %+v", changed, previous)
	}
	got := must(s.Client(ctx, first.ID))(t)
	if got == nil || got.Granted.ClientName != "other" || got.Granted.Contacts != nil ||
		got.Epoch != 0 {
		t.Fatalf("a change replaces: got %+v", got)
	}

	if got := must(s.Client(ctx, next.ID))(t); got != nil {
		t.Fatalf("the identifier that was not used is known: %+v", got)
	}
	cancelled := must(s.Cancel(ctx, fresh("https://c.test/app", Start), "urn:a", "https://c.test/app"))(t)
	if cancelled.ID != first.ID {
		t.Fatalf("cancelled %+v", cancelled)
	}
	if got := must(s.Client(ctx, first.ID))(t); got != nil {
		t.Fatalf("cancelled, and still there: %+v", got)
	}

	again := registration("urn:a", "https://c.test/app", "system/Patient.rs")
	stored, previous = register(t, s, again)
	if previous != nil || stored.ID == first.ID {
		t.Fatalf("registered again: %+v after %+v", stored, previous)
	}
}

func testEpoch(t *testing.T, sub Subject) {
	for i, step := range []struct {
		scope string
		epoch uint64
	}{
		{"system/Patient.rs system/Observation.rs", 0},
		{"system/Observation.rs system/Patient.rs", 0},
		{"system/Patient.rs system/Observation.rs system/Condition.rs", 0},
		{"system/Patient.rs", 1},
		{"system/Patient.rs system/Condition.rs", 1},
	} {
		if stored, _ := register(t, sub.Store,
			registration("urn:a", "https://c.test", step.scope)); stored.Epoch != step.epoch {
			t.Errorf("step %d: epoch %d, want %d", i, stored.Epoch, step.epoch)
		}
	}

	other := registration("urn:a", "https://c.test", "system/Patient.rs system/Condition.rs")
	other.Granted.GrantTypes = []string{"authorization_code"}
	if stored, _ := register(t, sub.Store, other); stored.Epoch != 2 {
		t.Errorf("another grant: epoch %d", stored.Epoch)
	}
}

func testCommunities(t *testing.T, sub Subject) {
	s, ctx := sub.Store, t.Context()
	a, _ := register(t, s, registration("urn:a", "https://c.test", "x"))
	b, previous := register(t, s, registration("urn:b", "https://c.test", "y"))
	if previous != nil || a.ID == b.ID {
		t.Fatalf("the other community's registration was touched: %+v", previous)
	}
	must(s.Cancel(ctx, fresh("https://c.test", Start), "urn:b", "https://c.test"))(t)
	if got := must(s.Client(ctx, a.ID))(t); got == nil || got.Granted.Scope != "x" {
		t.Fatalf("left in urn:a: %+v", got)
	}
}

func testSpend(t *testing.T, sub Subject) {
	s, ctx := sub.Store, t.Context()
	first := spend("iss", "one", Start)
	if err := s.Spend(ctx, first); err != nil {
		t.Fatal(err)
	}
	again := first
	again.Endpoint, again.Now, again.Until = "token", Start.Add(time.Minute), Start.Add(7*time.Minute)
	r := registration("urn:a", "iss", "x")
	token := oauth.Token{
		Hash:     oauth.Hash{1},
		ClientID: r.ID,
		Expires:  Start.Add(time.Hour),
	}
	for name, err := range map[string]error{
		"spend":    s.Spend(ctx, again),
		"register": third(s.Register(ctx, again, r)),
		"cancel":   second(s.Cancel(ctx, again, "urn:a", "iss")),
		"issue":    second(s.Issue(ctx, again, token)),
		"revoke":   s.Revoke(ctx, again, "iss", oauth.Handle{}, oauth.Hash{}),
	} {
		var replayed *oauth.Replayed
		if !errors.As(err, &replayed) || replayed.Endpoint != "register" ||
			!replayed.Seen.Equal(Start) {
			t.Errorf("%s: %v", name, err)
		}
	}

	if got := must(s.Client(ctx, r.ID))(t); got != nil {
		t.Errorf("a repeated statement registered %+v", got)
	}

	for _, other := range []oauth.Spend{spend("iss", "two", Start), spend("other", "one", Start),
		{
			Community: "urn:b",
			Issuer:    "iss",
			JTI:       "one",
			Until:     first.Until,
			Endpoint:  "register",
			Now:       Start,
		},
		spend("is", "sone", Start), spend("isso", "ne", Start)} {
		if err := s.Spend(ctx, other); err != nil {
			t.Errorf("%+v is another jti: %v", other, err)
		}
	}
}

// live returns a token that is there, with whatever registration.
func live(t *testing.T, s oauth.Store, h oauth.Handle, hash oauth.Hash) *oauth.Token {
	t.Helper()
	held, err := s.Live(t.Context(), h, hash)
	token, r := held.Token, held.Registration
	if err != nil || token == nil && r != nil || r != nil && r.ID != token.ClientID {
		t.Fatalf("token %+v, registration %+v, error %v", token, r, err)
	}
	return token
}

func second[T any](_ T, err error) error { return err }

func third[T, U any](_ T, _ U, err error) error { return err }

// testExpired has the clock reach the end of a JWT between its validation and
// the transaction: nothing is stored, and the jti is not used up.
func testExpired(t *testing.T, sub Subject) {
	s, ctx := sub.Store, t.Context()
	late := fresh("x", Start)
	late.Clock = func() time.Time { return late.Until }
	r := registration("urn:a", "https://c.test/late", "system/Patient.rs")
	if _, _, err := s.Register(ctx, late, r); !errors.Is(err, oauth.ErrExpired) {
		t.Fatalf("register: %v", err)
	}
	if got := must(s.Client(ctx, r.ID))(t); got != nil {
		t.Fatalf("registered all the same: %+v", got)
	}

	if err := s.Spend(ctx, late); !errors.Is(err, oauth.ErrExpired) {
		t.Fatalf("spend: %v", err)
	}

	late.Clock = func() time.Time { return late.Until.Add(-time.Second) }
	if err := s.Spend(ctx, late); err != nil {
		t.Fatalf("the same jti in time: %v", err)
	}
}

func testRefusedCancel(t *testing.T, sub Subject) {
	s, ctx := sub.Store, t.Context()
	jti := fresh("https://c.test", Start)
	for range 2 {
		if _, err := s.Cancel(ctx, jti, "urn:a", "https://c.test"); !errors.Is(err, oauth.ErrNoRegistration) {
			t.Fatalf("cancel of nothing: %v", err)
		}
	}

	if err := s.Spend(ctx, jti); err != nil {
		t.Errorf("the jti of a refused cancel: %v", err)
	}
}

func testSpentEnds(t *testing.T, sub Subject) {
	s, ctx := sub.Store, t.Context()
	if err := s.Spend(ctx, spend("iss", "one", Start)); err != nil {
		t.Fatal(err)
	}
	later := Start.Add(8 * time.Minute)
	if err := s.Spend(ctx, spend("iss", "one", later)); err != nil {
		t.Errorf("the earlier JWT with this jti is over: %v", err)
	}
}

func testClockSetBack(t *testing.T, sub Subject) {
	s, ctx := sub.Store, t.Context()
	used := spend("iss", "one", Start)
	if err := s.Spend(ctx, used); err != nil {
		t.Fatal(err)
	}

	// the clock leaps forward, and all is swept
	if err := s.Spend(ctx, fresh("iss", Start.Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	if err := s.Spend(ctx, used); !errors.Is(err, oauth.ErrSwept) { // and back
		t.Errorf("repeated after the clock was set back: %v", err)
	}
	if err := sub.Reopen(t).Spend(ctx, used); !errors.Is(err, oauth.ErrSwept) {
		t.Errorf("repeated after a restart too: %v", err)
	}
}

func testTokens(t *testing.T, sub Subject) {
	s, ctx := sub.Store, t.Context()
	c, _ := register(t, s, registration("urn:a", "https://c.test", "system/Patient.rs"))
	want := oauth.Token{
		Hash:       oauth.Hash{1, 2, 3},
		ClientID:   c.ID,
		Community:  c.Community,
		Client:     c.Client,
		Scope:      []string{"system/Patient.rs"},
		Purposes:   []string{"urn:p#TREAT"},
		Extensions: map[string]jsontext.Value{"hl7-b2b": jsontext.Value(`{"version":"1"}`)},
		Issued:     Start,
		Expires:    Start.Add(time.Hour),
	}
	h := must(s.Issue(ctx, fresh(string(c.ID), Start), want))(t)

	other := want
	other.Hash = oauth.Hash{9}
	h2 := must(s.Issue(ctx, fresh(string(c.ID), Start), other))(t)
	if h == h2 {
		t.Fatal("two tokens, one handle")
	}
	got := live(t, s, h, want.Hash)
	if got == nil || got.ClientID != c.ID || got.Client != c.Client ||
		!slices.Equal(got.Scope, want.Scope) ||
		!slices.Equal(got.Purposes, want.Purposes) ||
		!bytes.Equal(got.Extensions["hl7-b2b"], want.Extensions["hl7-b2b"]) ||
		!got.Issued.Equal(want.Issued) ||
		!got.Expires.Equal(want.Expires) || got.Hash != want.Hash {
		t.Fatalf("got %+v", got)
	}

	if got := live(t, s, h, other.Hash); got != nil {
		t.Error("found by another's hash")
	}
	if got := live(t, s, oauth.Handle{}, want.Hash); got != nil {
		t.Error("found by no handle")
	}
	if err := s.Revoke(ctx, fresh("x", Start), "someone else", h, want.Hash); err != nil {
		t.Error(err)
	}

	if got := live(t, s, h, want.Hash); got == nil {
		t.Error("revoked by someone else")
	}

	for range 2 {
		if err := s.Revoke(ctx, fresh("x", Start), c.ID, h, want.Hash); err != nil {
			t.Error(err)
		}
		if got := live(t, s, h, want.Hash); got != nil {
			t.Error("revoked, and still there")
		}
	}

	if got := live(t, s, h2, other.Hash); got == nil {
		t.Error("the other token went too")
	}
}

func testIssueRefused(t *testing.T, sub Subject) {
	s, ctx := sub.Store, t.Context()
	jti := fresh("x", Start)
	if _, err := s.Issue(ctx, jti, oauth.Token{
		ClientID: "nobody",
		Expires:  Start.Add(time.Hour),
	}); !errors.Is(err, oauth.ErrNoRegistration) {
		t.Errorf("unknown client: %v", err)
	}

	if err := s.Spend(ctx, jti); !errors.As(err, new(*oauth.Replayed)) {
		t.Errorf("the jti of a refused token is spent: %v", err)
	}
	c, _ := register(t, s, registration("urn:a", "https://c.test", "a b"))
	register(t, s, registration("urn:a", "https://c.test", "a"))
	if _, err := s.Issue(ctx, fresh("x", Start), oauth.Token{
		ClientID: c.ID,
		Epoch:    c.Epoch,
		Expires:  Start.Add(time.Hour),
	}); !errors.Is(err, oauth.ErrNoRegistration) {
		t.Errorf("judged by rights that are gone: %v", err)
	}

	must(s.Issue(ctx, fresh("x", Start), oauth.Token{
		ClientID: c.ID,
		Epoch:    c.Epoch + 1,
		Expires:  Start.Add(time.Hour),
	}))(t)
}

func testReopen(t *testing.T, sub Subject) {
	s, ctx := sub.Store, t.Context()
	r := registration("urn:a", "https://c.test", "x")
	r.Certifications = []string{"d.e.f"}
	c, _ := register(t, s, r)
	gone, _ := register(t, s, registration("urn:a", "https://gone.test", "x"))
	must(s.Cancel(ctx, fresh("y", Start), "urn:a", "https://gone.test"))(t)
	jti := fresh("x", Start)
	token := oauth.Token{
		Hash:     oauth.Hash{7},
		ClientID: c.ID,
		Expires:  Start.Add(time.Hour),
	}
	h := must(s.Issue(ctx, jti, token))(t)

	s = sub.Reopen(t)
	got := must(s.Client(ctx, c.ID))(t)
	if got == nil || got.Granted.ClientName != "name" || got.Statement != "a.b.c" ||
		!bytes.Equal(got.Leaf, r.Leaf) ||
		!slices.Equal(got.Certifications, r.Certifications) {
		t.Errorf("registration: %+v", got)
	}

	if got := must(s.Client(ctx, gone.ID))(t); got != nil {
		t.Errorf("cancelled registration: %+v", got)
	}

	if got := live(t, s, h, token.Hash); got == nil {
		t.Error("the token is gone")
	}
	if err := s.Spend(ctx, jti); !errors.As(err, new(*oauth.Replayed)) {
		t.Errorf("spent jti: %v", err)
	}
	token.Hash = oauth.Hash{8}
	h2 := must(s.Issue(ctx, fresh("x", Start), token))(t)

	if got := live(t, s, h, oauth.Hash{7}); got == nil || h == h2 {
		t.Error("a token was written over after the restart")
	}
}

func testSpendRace(t *testing.T, sub Subject) {
	const copies = 200
	c, _ := register(t, sub.Store, registration("urn:a", "https://c.test", "x"))
	jti := fresh("x", Start)
	var done atomic.Int32
	var wg sync.WaitGroup

	for i := range copies {
		wg.Go(func() {
			_, err := sub.Store.Issue(context.Background(), jti, oauth.Token{
				Hash:     oauth.Hash{byte(i)},
				ClientID: c.ID,
				Expires:  Start.Add(time.Hour),
			})
			switch {
			case err == nil:
				done.Add(1)
			case !errors.As(err, new(*oauth.Replayed)):
				t.Error(err)
			}
		})
	}

	wg.Wait()
	if done.Load() != 1 {
		t.Errorf("%d of %d copies were answered with a token", done.Load(), copies)
	}
}

// testChangeRace covers security case 133.
func testChangeRace(t *testing.T, sub Subject) {
	const changes = 100
	first, _ := register(t, sub.Store, registration("urn:a", "https://c.test", "scope-first"))
	var wg sync.WaitGroup

	for i := range changes {
		r := registration("urn:a", "https://c.test", fmt.Sprint("scope-", i))
		r.Granted.ClientName = r.Granted.Scope
		wg.Go(func() {
			if _, _, err := sub.Store.Register(context.Background(), fresh("https://c.test", Start),
				r); err != nil {
				t.Error(err)
			}
		})

		if i == changes/2 {
			wg.Go(func() {
				if _, err := sub.Store.Cancel(context.Background(), fresh("https://c.test", Start), "urn:a",
					"https://c.test"); err != nil {
					t.Error(err)
				}
			})
		}
	}

	wg.Wait()
	last, previous := register(t, sub.Store, registration("urn:a", "https://c.test", "scope-last"))
	if previous != nil && (previous.ID != last.ID ||
		previous.Granted.ClientName != previous.Granted.Scope) {
		t.Errorf("a mixture: %+v", previous)
	}
	if got := must(sub.Store.Client(t.Context(), first.ID))(t); got != nil && got.ID != last.ID {
		t.Errorf("two live registrations: %s and %s", first.ID, last.ID)
	}
}

// Spend returns the use of a JWT at Start by a jti.
func Spend(jti string) oauth.Spend { return spend("iss", jti, Start) }
