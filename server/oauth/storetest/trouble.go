package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"fhirdest.example/server/oauth"
)

// testRestart closes the store while many callers wait: whoever was answered with
// success finds it after the restart, and a jti that was used up stays used.
func testRestart(t *testing.T, sub Subject) {
	const callers = 60
	client, _ := register(t, sub.Store, registration("urn:a", "https://c.test", "x"))
	type outcome struct {
		jti   oauth.Spend
		token oauth.Token
		h     oauth.Handle
		err   error
	}

	all := make([]outcome, callers)
	s := sub.Store
	var wg sync.WaitGroup
	begun := make(chan bool, callers)

	for i := range all {
		all[i].jti = fresh("x", Start)
		all[i].token = oauth.Token{
			Hash:     oauth.Hash{byte(i), 1},
			ClientID: client.ID,
			Expires:  Start.Add(time.Hour),
		}

		wg.Go(func() {
			begun <- true
			all[i].h, all[i].err = s.Issue(context.Background(), all[i].jti, all[i].token)
		})
	}

	for range callers / 2 {
		<-begun
	}

	again := sub.Reopen(t)
	wg.Wait()
	for i, o := range all {
		if o.err != nil {
			continue
		}

		if got := live(t, again, o.h, o.token.Hash); got == nil {
			t.Errorf("token %d was issued and is lost", i)
		}
		if err := again.Spend(t.Context(), o.jti); !errors.As(err, new(*oauth.Replayed)) {
			t.Errorf("jti %d was used: %v", i, err)
		}
	}
}

// testCancelled: a caller whose context has ended changes nothing, and its jti is
// free.
func testCancelled(t *testing.T, sub Subject) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s, r := sub.Store, registration("urn:a", "https://c.test", "x")
	for name, do := range map[string]func(ctx context.Context, jti oauth.Spend) error{
		"register": func(ctx context.Context, jti oauth.Spend) error {
			return third(s.Register(ctx, jti, r))
		},
		"spend": s.Spend,
	} {
		jti := fresh("https://c.test", Start)
		if err := do(ctx, jti); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
		if got := must(s.Client(t.Context(), r.ID))(t); got != nil {
			t.Errorf("%s: registered %+v", name, got)
		}
		if err := s.Spend(t.Context(), jti); err != nil {
			t.Errorf("%s: the jti of a caller that had gone: %v", name, err)
		}
	}
}

// testFailedCommit: the outcome is unknown, the jti counts as used, and the next
// attempt with a new one comes to the same end. Nothing is kept in memory that is
// not in the store.
func testFailedCommit(t *testing.T, sub Subject) {
	s := sub.Store
	jti, r := fresh("https://c.test", Start), registration("urn:a", "https://c.test", "x")
	sub.FailCommits(true)
	if _, _, err := s.Register(t.Context(), jti, r); !errors.Is(err, oauth.ErrUnknown) {
		t.Errorf("a commit that fails: %v", err)
	}
	sub.FailCommits(false)
	if err := s.Spend(t.Context(), jti); !errors.As(err, new(*oauth.Replayed)) {
		t.Errorf("the jti of a commit that failed: %v", err)
	}
	testFailedProof(t, sub)

	stored, _ := register(t, s, r)
	token := oauth.Token{
		Hash:     oauth.Hash{1},
		ClientID: stored.ID,
		Expires:  Start.Add(time.Hour),
	}
	h := must(s.Issue(t.Context(), fresh("x", Start), token))(t)
	sub.FailCommits(true)

	if err := s.Revoke(t.Context(), fresh("x", Start), stored.ID, h,
		token.Hash); !errors.Is(err, oauth.ErrUnknown) {
		t.Errorf("a revocation whose commit fails: %v", err)
	}
	if _, err := s.Cancel(t.Context(), fresh("x", Start), "urn:a",
		"https://c.test"); !errors.Is(err, oauth.ErrUnknown) {
		t.Errorf("a cancellation whose commit fails: %v", err)
	}

	sub.FailCommits(false)

	before, after := live(t, s, h, token.Hash), live(t, sub.Reopen(t), h, token.Hash)
	if (before == nil) != (after == nil) {
		t.Errorf("token %+v, and %+v after a restart", before, after)
	}
}

// testFailedProof: the proof beside a JWT counts as used, too, when the outcome of the
// commit is unknown.
func testFailedProof(t *testing.T, sub Subject) {
	t.Helper()
	proof := fresh("key", Start)
	spend := func() error {
		s := fresh("x", Start)
		s.Proof = &proof
		return sub.Store.Spend(t.Context(), s)
	}

	sub.FailCommits(true)
	if err := spend(); !errors.Is(err, oauth.ErrUnknown) {
		t.Errorf("a commit that fails, with a proof: %v", err)
	}
	sub.FailCommits(false)
	if err := spend(); !errors.As(err, new(*oauth.ProofError)) || !errors.As(err, new(*oauth.Replayed)) {
		t.Errorf("the proof of a commit that failed: %v", err)
	}
}

// testTwoHandles: what one handle has done, the other knows at once. A store that
// allows one handle only must know it after it was opened again.
func testTwoHandles(t *testing.T, sub Subject) {
	first := sub.Store
	stored, _ := register(t, first, registration("urn:a", "https://c.test", "x"))
	token := oauth.Token{
		Hash:     oauth.Hash{1},
		ClientID: stored.ID,
		Expires:  Start.Add(time.Hour),
	}

	jti := fresh("x", Start)
	h := must(first.Issue(t.Context(), jti, token))(t)
	second := first
	if sub.Second != nil {
		second = sub.Second(t)
	} else {
		second = sub.Reopen(t)
		first = second
	}

	if err := second.Spend(t.Context(), jti); !errors.As(err, new(*oauth.Replayed)) {
		t.Errorf("a jti that the other handle used: %v", err)
	}
	if got := live(t, second, h, token.Hash); got == nil {
		t.Error("a token of the other handle is not there")
	}
	must(second.Cancel(t.Context(), fresh("x", Start), "urn:a", "https://c.test"))(t)
	held, err := first.Live(t.Context(), h, token.Hash)
	if err != nil || held.Token == nil || held.Registration != nil {
		t.Errorf("after the other handle cancelled: %+v, %v", held, err)
	}

	var wg sync.WaitGroup
	used := make([]error, 20)
	same := spend("iss", fmt.Sprint("both-", number.Add(1)), Start)

	for i := range used {
		s := []oauth.Store{first, second}[i%2]
		wg.Go(func() { used[i] = s.Spend(context.Background(), same) })
	}

	wg.Wait()
	accepted := 0
	for _, err := range used {
		if err == nil {
			accepted++
		} else if !errors.As(err, new(*oauth.Replayed)) {
			t.Error(err)
		}
	}

	if accepted != 1 {
		t.Errorf("one jti was accepted %d times by two handles", accepted)
	}
}
