package main

import (
	"bytes"
	"strings"
	"testing"
)

// A few rounds, one of each kind and more: what was acknowledged is there, nothing is
// accepted twice, and the clients of the other destination go on.
func TestChaos(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"-rounds", "5", "-clients", "4"}, &out, &errs); code != 0 {
		t.Fatalf("exit %d\n%s%s", code, &out, &errs)
	}
	for _, want := range []string{
		"kill -9 of destination a",
		"kill -9 of PostgreSQL",
		"severed with resets",
		"severed in silence",
		"kill -9 of destination b",
		"nothing acknowledged was lost, and nothing accepted twice or after its end",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q was not done:\n%s", want, &out)
		}
	}
}

// Mistakes in the arguments.
func TestUsage(t *testing.T) {
	for _, args := range []string{"-rounds 0", "-clients 0", "-clients 27", "-bogus", "x"} {
		t.Run(args, func(t *testing.T) {
			var out, errs bytes.Buffer
			if code := run(t.Context(), strings.Fields(args), &out, &errs); code != 2 || errs.Len() == 0 {
				t.Errorf("exit %d, %s", code, &errs)
			}
		})
	}
}
