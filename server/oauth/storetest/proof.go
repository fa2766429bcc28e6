package storetest

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fhirdest.example/server/oauth"
)

// proven returns the use of a JWT with that of a DPoP proof.
func proven(jti, proof string) oauth.Spend {
	s, p := spend("x", jti, Start), spend("dpop key", proof, Start)
	p.Community, p.Endpoint = "", "token"
	s.Proof = &p
	return s
}

func replayedProof(err error) bool {
	return errors.As(err, new(*oauth.ProofError)) && errors.As(err, new(*oauth.Replayed))
}

// testProof uses up the jti of a DPoP proof with that of a JWT: both or, when the
// proof was used before, that of the JWT alone and without its effect.
func testProof(t *testing.T, sub Subject) {
	s, ctx := sub.Store, t.Context()
	c, _ := register(t, s, registration("urn:a", "https://c.test", "a"))
	token := oauth.Token{
		Hash:     oauth.Hash{1},
		ClientID: c.ID,
		Epoch:    c.Epoch,
		Expires:  Start.Add(time.Hour),
	}
	must(s.Issue(ctx, proven("1", "p"), token))(t)

	h, err := s.Issue(ctx, proven("2", "p"), token)
	if !replayedProof(err) || h != (oauth.Handle{}) {
		t.Errorf("a proof that was used before: %v", err)
	}
	if err := s.Spend(ctx, spend("x", "2", Start)); !errors.As(err, new(*oauth.Replayed)) {
		t.Errorf("the jti beside a proof that was used before: %v", err)
	}
	if err := s.Spend(ctx, proven("3", "p")); !replayedProof(err) {
		t.Errorf("with no other effect: %v", err)
	}

	if err := s.Spend(ctx, proven("1", "q")); !errors.As(err, new(*oauth.Replayed)) ||
		errors.As(err, new(*oauth.ProofError)) {
		t.Errorf("a jti that was used before: %v", err)
	}
	if err := s.Spend(ctx, proven("4", "q")); err != nil {
		t.Errorf("the proof beside a jti that was used before is free: %v", err)
	}

	late := proven("5", "r")
	late.Proof.Clock = func() time.Time { return late.Proof.Until }
	if err := s.Spend(ctx, late); !errors.As(err, new(*oauth.ProofError)) || !errors.Is(err, oauth.ErrExpired) {
		t.Errorf("a proof that expired meanwhile: %v", err)
	}

	again := sub.Reopen(t)
	if err := again.Spend(ctx, proven("6", "p")); !replayedProof(err) {
		t.Errorf("after a restart: %v", err)
	}
}

// testProofRace has one proof beside many JWTs at once.
func testProofRace(t *testing.T, sub Subject) {
	var done atomic.Int32
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			err := sub.Store.Spend(t.Context(), proven(string(rune('A'+i)), "p"))
			switch {
			case err == nil:
				done.Add(1)
			case !replayedProof(err):
				t.Error(err)
			}
		})
	}

	wg.Wait()
	if n := done.Load(); n != 1 {
		t.Errorf("the proof was used %d times", n)
	}
}
