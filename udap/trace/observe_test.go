package trace_test

import (
	"slices"
	"testing"
	"time"

	"fhirdest.example/udap/trace"
)

// An observing trace goes on after what is tolerated, where Independent or Note is
// called, and after nothing else; one that does not observe never goes on.
func TestObservingTraces(t *testing.T) {
	tolerated := func(name string) bool { return name != "collect.c" }
	for _, row := range []struct {
		name     string
		observes bool
		refusing []bool
		code     trace.Code // of each refusal
		by       string
		noted    []string
	}{
		{"nothing", true, []bool{false, false, false}, trace.InvalidClient, "", nil},
		{"strict", false, []bool{true, false, false}, trace.InvalidClient, "collect.a", nil},
		{"tolerated", true, []bool{true, true, false}, trace.InvalidClient, "", []string{"collect.a", "collect.b"}},
		{"never", true, []bool{false, false, true}, trace.InvalidClient, "collect.c", nil},
		{"both", true, []bool{true, false, true}, trace.InvalidClient, "collect.c", []string{"collect.a"}},
		{"no fault of the client", true, []bool{true, false, false}, trace.TemporarilyUnavailable, "collect.a", nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			tr := trace.NewTrace("x", time.Unix(0, 0))
			if row.observes {
				tr.Observe(tolerated)
			}

			var checks []func() error
			for i, c := range collected {
				checks = append(checks, func() error {
					if row.refusing[i] {
						return tr.Refuse(c, row.code, trace.Finding{Found: c.Name})
					}
					return nil
				})
			}

			err := tr.Independent(checks...)
			var noted []string
			for _, s := range tr.Observations() {
				noted = append(noted, s.Check)
			}
			if (err != nil) != (row.by != "") || tr.RefusedBy != row.by || (tr.Code != "") != (row.by != "") ||
				!slices.Equal(noted, row.noted) || tr.Observes() != row.observes {
				t.Errorf("%v, %+v, noted %q", err, tr, noted)
			}
		})
	}
}

// A refusal for which a full trace has no room is not tolerated: it could not be noted.
func TestFullTracesTolerateNothing(t *testing.T) {
	tr := trace.NewTrace("x", time.Unix(0, 0))
	tr.Observe(func(string) bool { return true })
	for range 300 {
		tr.Pass(collected[0], "", "")
	}

	refuse := func() error { return tr.Refuse(collected[1], trace.InvalidClient, trace.Finding{}) }
	if err := tr.Independent(refuse); err == nil {
		t.Error("it went on without a note")
	}
}
