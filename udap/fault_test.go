package udap_test

import (
	"errors"
	"slices"
	"testing"

	"fhirdest.example/udap/fault"
	"fhirdest.example/udap/forge"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// Every fault of the catalogue is caught by the check that it names, in every
// document in which it is a mistake and with both kinds of key; the same document
// without it is accepted.
// Covers: S1-002, S1-003, S1-007, S1-008, case 016, case 017, case 020, case 025, case 026, case 028, case 029,
// case 039, case 041
func TestFaults(t *testing.T) {
	for _, k := range kinds {
		w, client := sharedEnv(t, k)
		c := (*forge.Client)(client)
		send := func(d fault.Document, f fault.Fault) (*trace.Trace, error) {
			good := forge.Statement(c.URI, udaptest.Registration, w.Now)
			if d == fault.Assertion {
				good = forge.Assertion(clientID, udaptest.Token, w.Now)
			}
			compact, err := f.Make(c, good, w.Now)
			if err != nil {
				t.Fatal(err)
			}
			if d == fault.Assertion {
				_, tr, err := assertion(w, compact)
				return tr, err
			}

			_, tr, err := statement(w, compact)
			return tr, err
		}

		for _, d := range []fault.Document{fault.Statement, fault.Assertion} {
			if _, err := send(d, fault.Fault{}); err != nil {
				t.Fatalf("without a fault the %s is refused: %v", d, err)
			}

			for _, f := range fault.All() {
				if !f.In(d) {
					continue
				}
				t.Run(string(k)+"/"+string(d)+"/"+f.Name, func(t *testing.T) {
					tr, err := send(d, f)
					var e *trace.Error
					if !errors.As(err, &e) || e.Check != f.CheckIn(d) || tr.RefusedBy != e.Check {
						t.Errorf("%v, want a refusal by %s", err, f.CheckIn(d))
					}
				})
			}
		}
	}
}

// Names in the catalogue are unique, each fault covers something, and the checks
// exist.
func TestFaultsAreNamed(t *testing.T) {
	var checks []string
	for _, c := range trace.Checks() {
		checks = append(checks, c.Name)
	}
	seen := map[string]bool{}

	for _, f := range fault.All() {
		t.Run(f.Name, func(t *testing.T) {
			if seen[f.Name] || f.Covers == "" {
				t.Error("the name is taken, or it covers nothing")
			}
			seen[f.Name] = true

			for _, d := range []fault.Document{fault.Statement, fault.Assertion} {
				if f.In(d) && !slices.Contains(checks, f.CheckIn(d)) {
					t.Errorf("there is no check %s", f.CheckIn(d))
				}
			}
		})
	}
}
