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

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/server/oauth"
)

// grantParts are the parts of Run about what people granted.
var grantParts = []part{
	{"a grant is found as it was stored", testGrant},
	{"no grant for a client that is not what was seen", testApproveRefused},
	{"a grant is exchanged with its token and the jti", testExchange},
	{"an exchange that is refused", testExchangeRefused},
	{"a person withdraws and narrows", testWithdraw},
	{"a person grants a client so much and no more", testMaxGrants},
	{"a session ends", testEndSession},
	{"expired grants are removed", testGrantsExpire},
	{"grants are there after a restart", testGrantsReopen},
	{"a caller that has gone grants nothing", testGrantCancelled},
	{"a commit of a grant that fails", testGrantFailedCommit},
	{"one grant, many exchanges at once", testExchangeRace},
}

var errRefused = errors.New("refused by the test")

// grantOf returns a grant of a client that no one has redeemed yet.
func grantOf(c *oauth.Registration, subject string) oauth.Grant {
	n := number.Add(1)
	return oauth.Grant{
		ID:        oauth.GrantID(fmt.Sprintf("%032x", n)),
		ClientID:  c.ID,
		Community: c.Community,
		Client:    c.Client,
		Person: oauth.Person{
			Subject:  subject,
			FHIRUser: "Patient/1",
			Name:     "A Person",
			SignedIn: Start,
		},
		Patient: "1",
		Scope:   []string{"openid", "patient/*.rs"},
		Nonce:   "n",
		Launch:  map[string]jsontext.Value{"encounter": jsontext.Value(`"e1"`)},
		Created: Start.Add(time.Duration(n) * time.Second),
		Expires: Start.Add(time.Minute),
		Code: oauth.Code{
			Hash:        oauth.Hash{1, byte(n)},
			RedirectURI: "https://c.test/cb",
			Sent:        true,
			Challenge:   "challenge",
			Thumbprint:  "thumbprint",
			Expires:     Start.Add(time.Minute),
		},
	}
}

// approved registers a client and stores a grant of it.
func approved(t *testing.T, s oauth.Store, subject string) (*oauth.Registration, oauth.Grant) {
	t.Helper()
	c, _ := register(t, s, registration("urn:a", fmt.Sprint("https://c.test/", number.Add(1)), "patient/*.rs"))
	g := grantOf(c, subject)
	if err := s.Approve(t.Context(), g, c); err != nil {
		t.Fatal(err)
	}
	return c, g
}

// tokenOf returns an access token of a grant.
func tokenOf(g oauth.Grant) *oauth.Token {
	return &oauth.Token{
		Hash:     oauth.Hash{2, byte(number.Add(1))},
		ClientID: g.ClientID,
		Grant:    g.ID,
		Subject:  g.Person.Subject,
		Patient:  g.Patient,
		Scope:    g.Scope,
		Issued:   Start,
		Expires:  Start.Add(time.Hour),
	}
}

// redeem returns the change that redeems a code, with a family of refresh tokens.
func redeem(token *oauth.Token) func(*oauth.Grant) oauth.Change {
	return func(now *oauth.Grant) oauth.Change {
		if now == nil || !now.Code.Redeemed.IsZero() {
			return oauth.Change{Err: errRefused}
		}

		next := *now
		next.Code.Redeemed, next.Used = Start, Start
		next.Expires = Start.Add(24 * time.Hour)
		next.Refresh = &oauth.Refresh{
			Family:  oauth.Hash{3},
			Current: oauth.Hash{4},
		}

		return oauth.Change{
			Grant: &next,
			Token: token,
		}
	}
}

// redeemed stores a grant and redeems its code.
func redeemed(t *testing.T, s oauth.Store, subject string) (oauth.Grant, oauth.TokenKey) {
	t.Helper()
	_, g := approved(t, s, subject)
	token := tokenOf(g)
	h := must(s.Exchange(t.Context(), fresh("x", Start), g.ID, redeem(token)))(t)
	return g, oauth.TokenKey{
		Handle: h,
		Hash:   token.Hash,
	}
}

// held returns what a store has of a token.
func held(t *testing.T, s oauth.Store, k oauth.TokenKey) oauth.Held {
	t.Helper()
	return must(s.Live(t.Context(), k.Handle, k.Hash))(t)
}

func testGrant(t *testing.T, sub Subject) {
	s := sub.Store
	_, g := approved(t, s, "person")
	got := must(s.Grant(t.Context(), g.ID))(t)
	if got == nil || got.Person.FHIRUser != "Patient/1" || got.Person.Subject != "person" || got.Patient != "1" ||
		!slices.Equal(got.Scope, g.Scope) || got.Code.Hash != g.Code.Hash ||
		got.Code.RedirectURI != g.Code.RedirectURI ||
		!got.Code.Sent || got.Code.Challenge != "challenge" || got.Code.Thumbprint != "thumbprint" ||
		got.Refresh != nil || got.Nonce != "n" ||
		string(got.Launch["encounter"]) != `"e1"` || !got.Expires.Equal(g.Expires) {
		t.Fatalf("got %+v", got)
	}

	for _, id := range []oauth.GrantID{"", "x", oauth.GrantID(fmt.Sprintf("%032x", 0)), g.ID[:30], g.ID + "00"} {
		if got := must(s.Grant(t.Context(), id))(t); got != nil {
			t.Errorf("grant %q: %+v", id, got)
		}
	}

	if all := must(s.Grants(t.Context(), "person"))(t); len(all) != 0 {
		t.Errorf("listed before its code was redeemed: %+v", all)
	}
}

func testApproveRefused(t *testing.T, sub Subject) {
	s, ctx := sub.Store, t.Context()
	c, _ := register(t, s, registration("urn:a", "https://c.test", "a b"))
	g := grantOf(c, "person")

	again := registration("urn:a", "https://c.test", "a b")
	again.Statement = "d.e.f"
	now, _ := register(t, s, again)
	if err := s.Approve(ctx, g, c); !errors.Is(err, oauth.ErrNoRegistration) {
		t.Errorf("registered anew since: %v", err)
	}
	must(s.Cancel(ctx, fresh("x", Start), "urn:a", "https://c.test"))(t)
	if err := s.Approve(ctx, g, now); !errors.Is(err, oauth.ErrNoRegistration) {
		t.Errorf("cancelled since: %v", err)
	}

	if got := must(s.Grant(ctx, g.ID))(t); got != nil {
		t.Errorf("stored all the same: %+v", got)
	}
}

func testExchange(t *testing.T, sub Subject) {
	s, ctx := sub.Store, t.Context()
	_, g := approved(t, s, "person")
	token, jti := tokenOf(g), fresh("x", Start)
	h := must(s.Exchange(ctx, jti, g.ID, redeem(token)))(t)
	first := oauth.TokenKey{
		Handle: h,
		Hash:   token.Hash,
	}
	got := held(t, s, first)
	if got.Token == nil || got.Registration == nil || got.Grant == nil || got.Token.Grant != g.ID ||
		got.Grant.Refresh.Access != first || got.Grant.Code.Redeemed.IsZero() {
		t.Fatalf("got %+v, grant %+v", got, got.Grant)
	}

	if err := s.Spend(ctx, jti); !errors.As(err, new(*oauth.Replayed)) {
		t.Errorf("the jti of an exchange: %v", err)
	}
	if all := must(s.Grants(ctx, "person"))(t); len(all) != 1 || all[0].ID != g.ID {
		t.Errorf("grants %+v", all)
	}

	// A refresh that gives the first access token up.
	next := tokenOf(g)
	h = must(s.Exchange(ctx, fresh("x", Start), g.ID, func(now *oauth.Grant) oauth.Change {
		after := *now
		after.Refresh = &oauth.Refresh{Current: oauth.Hash{5}}
		return oauth.Change{
			Grant: &after,
			Drop:  &now.Refresh.Access,
			Token: next,
		}
	}))(t)

	if got := held(t, s, first); got.Token != nil {
		t.Errorf("the token that was given up: %+v", got.Token)
	}

	second := oauth.TokenKey{
		Handle: h,
		Hash:   next.Hash,
	}
	if got := held(t, s, second); got.Token == nil || got.Grant.Refresh.Access != second {
		t.Errorf("the token after it: %+v", got)
	}
}

func testExchangeRefused(t *testing.T, sub Subject) {
	s, ctx := sub.Store, t.Context()
	g, key := redeemed(t, s, "person")
	for name, row := range map[string]struct {
		id     oauth.GrantID
		change oauth.Change
		want   error
	}{
		"refused":  {g.ID, oauth.Change{Err: errRefused}, errRefused},
		"no grant": {"no grant", oauth.Change{Err: errRefused}, errRefused},
		"other client": {
			g.ID,
			oauth.Change{Token: &oauth.Token{ClientID: "nobody", Expires: Start}},
			oauth.ErrNoRegistration,
		},
	} {
		jti := fresh("x", Start)
		h, err := s.Exchange(ctx, jti, row.id, func(*oauth.Grant) oauth.Change { return row.change })
		if !errors.Is(err, row.want) || h != (oauth.Handle{}) {
			t.Errorf("%s: %v, handle %x", name, err, h)
		}
		if err := s.Spend(ctx, jti); !errors.As(err, new(*oauth.Replayed)) {
			t.Errorf("%s: the jti: %v", name, err)
		}

		if got := held(t, s, key); got.Grant == nil || got.Token == nil {
			t.Errorf("%s: the grant did not stay: %+v", name, got)
		}
	}

	_, err := s.Exchange(ctx, fresh("x", Start), g.ID, func(*oauth.Grant) oauth.Change {
		return oauth.Change{
			Err: errRefused,
			End: true,
		}
	})

	if got := held(t, s, key); !errors.Is(err, errRefused) || got.Grant != nil {
		t.Errorf("ended: %v, %+v", err, got)
	}

	jti := fresh("x", Start)
	if err := s.Spend(ctx, jti); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Exchange(ctx, jti, g.ID, func(*oauth.Grant) oauth.Change {
		t.Error("decided with a jti that was used before")
		return oauth.Change{}
	}); !errors.As(err, new(*oauth.Replayed)) {
		t.Errorf("a jti that was used before: %v", err)
	}
}

func testWithdraw(t *testing.T, sub Subject) {
	s, ctx := sub.Store, t.Context()
	g, key := redeemed(t, s, "person")
	_, other := redeemed(t, s, "person2")
	if err := s.Narrow(ctx, g.ID, "person2", nil); !errors.Is(err, oauth.ErrNoGrant) {
		t.Errorf("narrowed by another person: %v", err)
	}
	if err := s.Withdraw(ctx, g.ID, "person2"); err != nil || held(t, s, key).Grant == nil {
		t.Errorf("withdrawn by another person: %v", err)
	}

	if err := s.Narrow(ctx, g.ID, "person", []string{"openid"}); err != nil {
		t.Error(err)
	}
	if got := held(t, s, key).Grant; got.Revision != 1 || !slices.Equal(got.Scope, []string{"openid"}) {
		t.Errorf("narrowed: %+v", got)
	}

	for range 2 {
		if err := s.Withdraw(ctx, g.ID, "person"); err != nil {
			t.Error(err)
		}
	}

	if got := held(t, s, key); got.Grant != nil {
		t.Errorf("withdrawn: %+v", got.Grant)
	}
	if got := must(s.Grants(ctx, "person"))(t); len(got) != 0 {
		t.Errorf("withdrawn and listed: %+v", got)
	}
	if err := s.Narrow(ctx, g.ID, "person", nil); !errors.Is(err, oauth.ErrNoGrant) {
		t.Errorf("narrowed after it was withdrawn: %v", err)
	}

	if got := held(t, s, other); got.Grant == nil {
		t.Error("the other person's grant is gone too")
	}
}

func testMaxGrants(t *testing.T, sub Subject) {
	s, ctx := sub.Store, t.Context()
	c, used := approved(t, s, "person") // the earliest, and then the one used last
	other, _ := redeemed(t, s, "person")
	var ids []oauth.GrantID

	for i := range oauth.MaxGrants + 5 {
		g := grantOf(c, "person")
		if err := s.Approve(ctx, g, c); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, g.ID)
		if i == 0 {
			must(s.Exchange(ctx, fresh("x", Start), used.ID, func(now *oauth.Grant) oauth.Change {
				next := *now
				next.Used = Start.Add(24 * time.Hour)
				return oauth.Change{Grant: &next}
			}))(t)
		}
	}

	for i, id := range ids {
		if got := must(s.Grant(ctx, id))(t); (got != nil) != (i >= 6) {
			t.Errorf("grant %d of %d: %v", i, len(ids), got != nil)
		}
	}

	for _, id := range []oauth.GrantID{used.ID, other.ID} {
		if must(s.Grant(ctx, id))(t) == nil {
			t.Error("a grant that was used last, or is another client's, was removed")
		}
	}
}

func testEndSession(t *testing.T, sub Subject) {
	s, ctx := sub.Store, t.Context()
	c, _ := register(t, s, registration("urn:a", "https://c.test", "a"))
	var ids []oauth.GrantID

	for _, session := range []string{"one", "one", "two", ""} {
		g := grantOf(c, "person")
		g.Session = session
		if err := s.Approve(ctx, g, c); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, g.ID)
	}

	for _, session := range []string{"one", "", "three"} {
		if err := s.EndSession(ctx, "person", session); err != nil {
			t.Error(err)
		}
	}

	if err := s.EndSession(ctx, "perso", "two"); err != nil {
		t.Error(err)
	}

	for i, want := range []bool{false, false, true, true} {
		if got := must(s.Grant(ctx, ids[i]))(t); (got != nil) != want {
			t.Errorf("grant %d: %+v", i, got)
		}
	}
}

func testGrantsExpire(t *testing.T, sub Subject) {
	s, ctx := sub.Store, t.Context()
	_, short := approved(t, s, "person")
	long, key := redeemed(t, s, "person")
	later := Start.Add(10 * time.Minute)
	if err := s.Spend(ctx, fresh("x", later)); err != nil { // whoever comes first sweeps
		t.Fatal(err)
	}

	if got := must(s.Grant(ctx, short.ID))(t); got != nil {
		t.Errorf("expired, and still there: %+v", got)
	}
	if got := held(t, s, key); got.Grant == nil || got.Grant.ID != long.ID {
		t.Errorf("the grant that lives on: %+v", got)
	}
}

func testGrantsReopen(t *testing.T, sub Subject) {
	s := sub.Store
	kept, key := redeemed(t, s, "person")
	gone, _ := redeemed(t, s, "person")
	if err := s.Withdraw(t.Context(), gone.ID, "person"); err != nil {
		t.Fatal(err)
	}

	s = sub.Reopen(t)
	if got := held(t, s, key); got.Grant == nil || got.Grant.Refresh.Access != key {
		t.Errorf("after the restart: %+v", got)
	}
	all := must(s.Grants(t.Context(), "person"))(t)
	if len(all) != 1 || all[0].ID != kept.ID {
		t.Errorf("grants after the restart: %+v", all)
	}
}

func testGrantCancelled(t *testing.T, sub Subject) {
	s := sub.Store
	c, g := approved(t, s, "person")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	jti, another := fresh("x", Start), grantOf(c, "person")
	for name, err := range map[string]error{
		"approve":  s.Approve(ctx, another, c),
		"exchange": second(s.Exchange(ctx, jti, g.ID, redeem(tokenOf(g)))),
		"withdraw": s.Withdraw(ctx, g.ID, "person"),
		"narrow":   s.Narrow(ctx, g.ID, "person", nil),
		"session":  s.EndSession(ctx, "person", ""),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}

	got := must(s.Grant(t.Context(), g.ID))(t)
	if got == nil || !got.Code.Redeemed.IsZero() || got.Revision != 0 {
		t.Errorf("changed all the same: %+v", got)
	}
	if got := must(s.Grant(t.Context(), another.ID))(t); got != nil {
		t.Errorf("approved all the same: %+v", got)
	}
	if err := s.Spend(t.Context(), jti); err != nil {
		t.Errorf("the jti of a caller that had gone: %v", err)
	}
}

// testGrantFailedCommit: a code whose redemption has an unknown outcome is not
// redeemed by the answer; what memory has is what the store has.
func testGrantFailedCommit(t *testing.T, sub Subject) {
	s, ctx := sub.Store, t.Context()
	c, g := approved(t, s, "person")
	token, jti := tokenOf(g), fresh("x", Start)
	sub.FailCommits(true)

	for name, err := range map[string]error{
		"approve":  s.Approve(ctx, grantOf(c, "person"), c),
		"exchange": second(s.Exchange(ctx, jti, g.ID, redeem(token))),
		"narrow":   s.Narrow(ctx, g.ID, "person", nil),
		"withdraw": s.Withdraw(ctx, g.ID, "person"),
	} {
		if !errors.Is(err, oauth.ErrUnknown) {
			t.Errorf("%s: %v", name, err)
		}
	}

	sub.FailCommits(false)

	if err := s.Spend(ctx, jti); !errors.As(err, new(*oauth.Replayed)) {
		t.Errorf("the jti of a commit that failed: %v", err)
	}
	before := must(s.Grant(ctx, g.ID))(t)
	after := must(sub.Reopen(t).Grant(ctx, g.ID))(t)
	if (before == nil) != (after == nil) || before != nil && !before.Code.Redeemed.Equal(after.Code.Redeemed) {
		t.Errorf("grant %+v, and %+v after a restart", before, after)
	}
}

// testExchangeRace: of many who redeem one code, one succeeds.
func testExchangeRace(t *testing.T, sub Subject) {
	const copies = 200
	_, g := approved(t, sub.Store, "person")
	var done atomic.Int32
	var wg sync.WaitGroup

	for range copies {
		token := tokenOf(g)
		wg.Go(func() {
			_, err := sub.Store.Exchange(context.Background(), fresh("x", Start), g.ID, redeem(token))
			switch {
			case err == nil:
				done.Add(1)
			case !errors.Is(err, errRefused):
				t.Error(err)
			}
		})
	}

	wg.Wait()
	if done.Load() != 1 {
		t.Errorf("one code was redeemed %d times", done.Load())
	}
}
