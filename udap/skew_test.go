package udap_test

import (
	"testing"
	"time"

	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// A statement is accepted from iat less Policy.ClockSkew until exp plus it, to
// the second: a store that remembers its jti for that long cannot forget one
// that would still be accepted.
// Covers: S1-078, S1-080
func TestClockSkew(t *testing.T) {
	w := udaptest.New(t, "p256")
	c := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
	compact := c.Sign(t, c.Statement(w.Now))
	iat, exp := w.Now, w.Now.Add(5*time.Minute)

	for _, row := range []struct {
		name string
		skew time.Duration // of the policy
		want time.Duration
	}{
		{"the default", 0, time.Minute},
		{"none", -1, 0},
		{"a longer one", 4 * time.Minute, 4 * time.Minute},
	} {
		t.Run(row.name, func(t *testing.T) {
			policy := udap.Policy{Skew: row.skew}
			if got := policy.ClockSkew(); got != row.want {
				t.Fatalf("ClockSkew is %v, want %v", got, row.want)
			}

			community := *w.A.Community
			community.Policy = policy
			v := &udap.Verifier{Communities: []*udap.Community{&community}, Revocation: w}

			for _, at := range []struct {
				name string
				now  time.Time
				ok   bool
			}{
				{"a second too early", iat.Add(-row.want - time.Second), false},
				{"at the beginning", iat.Add(-row.want), true},
				{"the last second", exp.Add(row.want - time.Second), true},
				{"a second too late", exp.Add(row.want), false},
			} {
				tr := trace.NewTrace("register", at.now)
				_, err := v.Statement(ctx, compact, udap.Expect{Now: at.now, Audience: udaptest.Registration}, tr)
				if (err == nil) != at.ok {
					t.Errorf("%s: accepted %v, want %v: %v", at.name, err == nil, at.ok, err)
				}
			}
		})
	}
}
