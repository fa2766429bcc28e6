package examine_test

import (
	"context"
	"testing"

	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/conform/examine"
)

// Our own destination has no fault, and nothing is left there.
func TestOurDestinationIsConformant(t *testing.T) {
	d := servertest.Start(t)
	s := setting(t, d, d.Addr)
	s.Revoked = revoked(t, d)
	r, err := examine.Run(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Findings {
		t.Logf("%-14s %-40s %s%s | %s", f.Verdict, f.Check, f.Found, f.Reason, f.Sent)
	}
	for _, f := range failed(r) {
		t.Errorf("%s: %s, expected %s, found %s", f.Check, f.Verdict, f.Expected, f.Found)
	}
	t.Log(r.Requests, r.Took, r.Left)
}
