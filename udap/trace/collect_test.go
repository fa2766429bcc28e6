package trace_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"fhirdest.example/udap/trace"
)

// Checks of these tests; refusing says which of them refuse.
var collected = []trace.Check{
	trace.NewCheck("collect.a", "a", ""),
	trace.NewCheck("collect.b", "b", ""),
	trace.NewCheck("collect.c", "c", ""),
}

// The first refusal of a collection decides; those after it are further mistakes,
// and what passes after it is not in the trace.
func TestCollect(t *testing.T) {
	codes := []trace.Code{trace.InvalidClient, trace.InvalidScope, trace.InvalidGrant}
	for _, row := range []struct {
		name     string
		refusing []bool
		by       string
		code     trace.Code
		further  []string
		steps    int
	}{
		{"none", []bool{false, false, false}, "", "", nil, 3},
		{"the first", []bool{true, false, false}, "collect.a", trace.InvalidClient, nil, 1},
		{"the last", []bool{false, false, true}, "collect.c", trace.InvalidGrant, nil, 3},
		{"first and last", []bool{true, false, true}, "collect.a", trace.InvalidClient, []string{"collect.c"}, 2},
		{"two", []bool{false, true, true}, "collect.b", trace.InvalidScope, []string{"collect.c"}, 3},
		{"all", []bool{true, true, true}, "collect.a", trace.InvalidClient, []string{"collect.b", "collect.c"}, 3},
	} {
		t.Run(row.name, func(t *testing.T) {
			tr := trace.NewTrace("x", time.Unix(0, 0))
			var checks []func() error
			for i, c := range collected {
				checks = append(checks, func() error {
					if row.refusing[i] {
						return tr.Refuse(c, codes[i], trace.Finding{Expected: "x", Found: c.Name})
					}
					tr.Pass(c, "x", "x")
					return nil
				})
			}

			err := tr.Collect(checks...)
			var further []string
			for _, s := range tr.Further() {
				further = append(further, s.Check)
			}
			if tr.RefusedBy != row.by || tr.Code != row.code || !slices.Equal(further, row.further) ||
				len(tr.Steps) != row.steps {
				t.Errorf("%+v, further %q", tr, further)
			}

			var e *trace.Error
			if errors.As(err, &e) != (row.by != "") || e != nil && (e.Check != row.by || e.Code != row.code) {
				t.Errorf("error %v", err)
			}
		})
	}
}
