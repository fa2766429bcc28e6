package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fhirdest.example/server/oauth"
	"fhirdest.example/udap/trace"
)

// secondParts are the parts of Run about several handles to the same data. A store
// that allows one handle only must pass them with that.
var secondParts = []part{
	{"one client, registered at both at once", testRegisterAtBoth},
	{"one assertion, sent to both at once", testSpendAtBoth},
	{"one code, redeemed at both at once", testExchangeAtBoth},
	{"one launch, used at both at once", testLaunchAtBoth},
	{"what one changes is in force at the other on the next request", testNextRequest},
	{"a cancel at one, tokens at the other", testCancelAgainstIssue},
	{"bounds hold for both together", testBoundsOfBoth},
	{"everything at once", testEverythingAtBoth},
}

// both returns two handles to the same data.
func both(t *testing.T, sub Subject) [2]oauth.Store {
	t.Helper()
	if sub.Second == nil {
		return [2]oauth.Store{sub.Store, sub.Store}
	}
	return [2]oauth.Store{sub.Store, sub.Second(t)}
}

// alternately runs work n times at once, with one handle and the other in turn, and
// returns how often it succeeded. Errors must be ones that ok accepts.
func alternately(
	t *testing.T, stores [2]oauth.Store, n int, ok func(error) bool, work func(i int, s oauth.Store) error,
) int {
	t.Helper()
	var done atomic.Int32
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			switch err := work(i, stores[i%2]); {
			case err == nil:
				done.Add(1)
			case !ok(err):
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	all.Wait()
	return int(done.Load())
}

func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func isReplayed(err error) bool { return errors.As(err, new(*oauth.Replayed)) }

func testRegisterAtBoth(t *testing.T, sub Subject) {
	stores := both(t, sub)
	var first atomic.Int32
	alternately(t, stores, 100, is(nil), func(i int, s oauth.Store) error {
		r := registration("urn:a", "https://c.test", fmt.Sprint("scope-", i))
		_, previous, err := s.Register(context.Background(), fresh("https://c.test", Start), r)
		if previous == nil {
			first.Add(1)
		}
		return err
	})
	if n := first.Load(); n != 1 {
		t.Errorf("%d registrations found none before them", n)
	}

	a, _ := register(t, stores[0], registration("urn:a", "https://c.test", "x"))
	if b := must(stores[1].Client(t.Context(), a.ID))(t); b == nil || b.Granted.Scope != "x" {
		t.Errorf("at the other: %+v", b)
	}
}

func testSpendAtBoth(t *testing.T, sub Subject) {
	stores := both(t, sub)
	c, _ := register(t, stores[0], registration("urn:a", "https://c.test", "x"))
	jti := fresh("x", Start)
	n := alternately(t, stores, 200, isReplayed, func(i int, s oauth.Store) error {
		_, err := s.Issue(context.Background(), jti, oauth.Token{
			Hash:     oauth.Hash{byte(i)},
			ClientID: c.ID,
			Expires:  Start.Add(time.Hour),
		})
		return err
	})
	if n != 1 {
		t.Errorf("200 copies were answered with %d tokens", n)
	}
}

func testExchangeAtBoth(t *testing.T, sub Subject) {
	stores := both(t, sub)
	_, g := approved(t, stores[0], "person")
	n := alternately(t, stores, 100, is(errRefused), func(_ int, s oauth.Store) error {
		_, err := s.Exchange(context.Background(), fresh("x", Start), g.ID, redeem(tokenOf(g)))
		return err
	})
	if n != 1 {
		t.Errorf("one code was redeemed %d times", n)
	}
}

func testLaunchAtBoth(t *testing.T, sub Subject) {
	stores := both(t, sub)
	c, _ := register(t, stores[0], registration("urn:a", "https://c.test", "launch"))
	h := must(stores[0].AddLaunch(t.Context(), oauth.Launch{
		Hash:     oauth.Hash{1},
		ClientID: c.ID,
		Expires:  Start.Add(10 * time.Minute),
	}, Start))(t)

	n := alternately(t, stores, 40, is(oauth.ErrNoLaunch), func(_ int, s oauth.Store) error {
		g := grantOf(c, "person")
		g.Uses = h
		return s.Approve(context.Background(), g, c)
	})
	if n != 1 {
		t.Errorf("%d grants used one launch", n)
	}
}

// testNextRequest has one handle look at everything, so that it may remember it,
// before the other changes it.
func testNextRequest(t *testing.T, sub Subject) {
	ctx := t.Context()
	for _, row := range []struct {
		name   string
		change func(s oauth.Store, c *oauth.Registration, g oauth.Grant, k oauth.TokenKey) error
		holds  func(oauth.Held) bool
	}{
		{"rights taken away", func(s oauth.Store, c *oauth.Registration, _ oauth.Grant, _ oauth.TokenKey) error {
			r := registration(string(c.Community), string(c.Client), "other")
			return third(s.Register(ctx, fresh("x", Start), r))
		}, func(h oauth.Held) bool { return h.Registration != nil && h.Registration.Epoch == 1 }},
		{"cancelled", func(s oauth.Store, c *oauth.Registration, _ oauth.Grant, _ oauth.TokenKey) error {
			return second(s.Cancel(ctx, fresh("x", Start), c.Community, c.Client))
		}, func(h oauth.Held) bool { return h.Token != nil && h.Registration == nil }},
		{"narrowed", func(s oauth.Store, _ *oauth.Registration, g oauth.Grant, _ oauth.TokenKey) error {
			return s.Narrow(ctx, g.ID, "person", []string{"openid"})
		}, func(h oauth.Held) bool {
			return h.Grant != nil && h.Grant.Revision == 1 && slices.Equal(h.Grant.Scope, []string{"openid"})
		}},
		{"withdrawn", func(s oauth.Store, _ *oauth.Registration, g oauth.Grant, _ oauth.TokenKey) error {
			return s.Withdraw(ctx, g.ID, "person")
		}, func(h oauth.Held) bool { return h.Token != nil && h.Grant == nil }},
		{"signed out", func(s oauth.Store, _ *oauth.Registration, _ oauth.Grant, _ oauth.TokenKey) error {
			return s.EndSession(ctx, "person", "session")
		}, func(h oauth.Held) bool { return h.Token != nil && h.Grant == nil }},
		{"revoked", func(s oauth.Store, c *oauth.Registration, _ oauth.Grant, k oauth.TokenKey) error {
			return s.Revoke(ctx, fresh("x", Start), c.ID, k.Handle, k.Hash)
		}, func(h oauth.Held) bool { return h.Token == nil }},
	} {
		stores := both(t, sub)
		for i := range stores {
			c, _ := register(t, stores[i], registration("urn:a", fmt.Sprint("https://c.test/", number.Add(1)), "a b"))
			g := grantOf(c, "person")
			g.Session = "session"
			token := tokenOf(g)
			err := stores[i].Approve(ctx, g, c)
			h, exchanged := stores[i].Exchange(ctx, fresh("x", Start), g.ID, redeem(token))
			if err = errors.Join(err, exchanged); err != nil {
				t.Fatal(err)
			}

			k := oauth.TokenKey{
				Handle: h,
				Hash:   token.Hash,
			}
			for range 2 {
				if got := held(t, stores[1-i], k); got.Token == nil || got.Registration == nil || got.Grant == nil {
					t.Fatalf("%s: before: %+v", row.name, got)
				}
			}
			if err := row.change(stores[i], c, g, k); err != nil {
				t.Fatalf("%s: %v", row.name, err)
			}
			if got := held(t, stores[1-i], k); !row.holds(got) {
				t.Errorf("%s: the next request has token %+v, registration %+v, grant %+v",
					row.name, got.Token, got.Registration, got.Grant)
			}
		}
	}
}

// testCancelAgainstIssue: when the cancel has been answered, no token is issued, and
// those from before are dead.
func testCancelAgainstIssue(t *testing.T, sub Subject) {
	stores := both(t, sub)
	c, _ := register(t, stores[0], registration("urn:a", "https://c.test", "x"))
	var mu sync.Mutex
	var issued []oauth.TokenKey
	issue := func(s oauth.Store) error {
		token := oauth.Token{
			Hash:     oauth.Hash{byte(number.Add(1))},
			ClientID: c.ID,
			Expires:  Start.Add(time.Hour),
		}
		h, err := s.Issue(context.Background(), fresh("x", Start), token)
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			issued = append(issued, oauth.TokenKey{
				Handle: h,
				Hash:   token.Hash,
			})
		}
		return err
	}

	var cancelled sync.WaitGroup
	cancelled.Go(func() {
		if _, err := stores[0].Cancel(t.Context(), fresh("y", Start), "urn:a", "https://c.test"); err != nil {
			t.Error(err)
		}
		if err := issue(stores[1]); !errors.Is(err, oauth.ErrNoRegistration) {
			t.Errorf("after the cancel: %v", err)
		}
	})
	alternately(t, stores, 100, is(oauth.ErrNoRegistration), func(_ int, s oauth.Store) error { return issue(s) })
	cancelled.Wait()

	for i, k := range issued {
		if got := held(t, stores[i%2], k); got.Token == nil || got.Registration != nil {
			t.Errorf("a token from before the cancel: %+v", got)
		}
	}
}

func testBoundsOfBoth(t *testing.T, sub Subject) {
	stores := both(t, sub)
	c, _ := register(t, stores[0], registration("urn:a", "https://c.test", "x"))
	ids := make([]oauth.GrantID, oauth.MaxGrants+30)
	n := alternately(t, stores, len(ids), is(nil), func(i int, s oauth.Store) error {
		g := grantOf(c, "person")
		ids[i] = g.ID
		return s.Approve(context.Background(), g, c)
	})
	kept := 0
	for i, id := range ids {
		if must(stores[i%2].Grant(t.Context(), id))(t) != nil {
			kept++
		}
	}
	if n != len(ids) || kept != oauth.MaxGrants {
		t.Errorf("%d grants were stored and %d kept", n, kept)
	}

	launch := oauth.Launch{
		ClientID: c.ID,
		Expires:  Start.Add(time.Hour),
	}
	n = alternately(t, stores, oauth.MaxLaunches+100, is(oauth.ErrTooManyLaunches),
		func(_ int, s oauth.Store) error {
			return second(s.AddLaunch(context.Background(), launch, Start))
		})
	if n != oauth.MaxLaunches {
		t.Errorf("%d launches were stored", n)
	}
}

// testEverythingAtBoth has many callers change few rows at both handles, while time
// goes on so that what is over is removed: none fails.
func testEverythingAtBoth(t *testing.T, sub Subject) {
	stores := both(t, sub)
	refused := func(err error) bool {
		return errors.Is(err, oauth.ErrNoRegistration) || errors.Is(err, oauth.ErrNoGrant) || errors.Is(err, errRefused)
	}
	c, g := approved(t, stores[0], "person")
	alternately(t, stores, 600, refused, func(i int, s oauth.Store) error {
		ctx, now := context.Background(), Start.Add(time.Duration(i/100)*time.Minute)
		client := fmt.Sprint("https://c.test/of-", i%3)
		jti := fresh("x", now)
		switch i / 2 % 8 {
		case 0:
			return third(s.Register(ctx, jti, registration("urn:a", client, fmt.Sprint("scope-", i))))
		case 1:
			return second(s.Cancel(ctx, jti, "urn:a", trace.ClientURI(client)))
		case 2:
			return s.Approve(ctx, grantOf(c, "person"), c)
		case 3:
			return second(s.Exchange(ctx, jti, g.ID, redeem(tokenOf(g))))
		case 4:
			return s.Narrow(ctx, g.ID, "person", []string{"openid"})
		case 5:
			return s.EndSession(ctx, "person", "session")
		case 6:
			return second(s.AddLaunch(ctx, oauth.Launch{Expires: now.Add(time.Hour)}, now))
		default:
			return s.Spend(ctx, jti)
		}
	})
}
