package examine_test

import (
	"context"
	"testing"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/conform/examine"
)

// Our own destination has no fault, and nothing is left there.
func TestOurDestinationIsConformant(t *testing.T) {
	d, revoked := start(t)
	s := setting(t, d, d.Addr)
	s.Revoked = revoked
	r, err := examine.Run(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Findings {
		if f.Verdict == conform.NotExercised {
			t.Logf("%s: %s", f.Check, f.Reason)
		}
	}
	for _, f := range failed(r) {
		t.Errorf("%s: %s, expected %s, found %s", f.Check, f.Verdict, f.Expected, f.Found)
	}
	if len(r.Left) > 0 {
		t.Errorf("left behind: %v", r.Left)
	}
}
