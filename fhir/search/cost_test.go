package search

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// A short query must not become a large tree of clauses, in whatever place its
// chains are (R4 search 3.1.1.5.6 leaves such bounds to the server).
func TestCostOfParsingIsBounded(t *testing.T) {
	focus := "focus.derived-from.derived-from.derived-from._id"
	typed := "focus:Observation.subject.organization.partof.name"
	wide := "performer:PractitionerRole.organization.endpoint.name"
	rows := []struct {
		name, typ, code string
		pairs           []Pair
	}{
		{"an any-type reference", "Observation", "value", []Pair{{focus, "x"}}},
		{"its repetitions", "Observation", "value", repeat(100, Pair{focus, "x"})},
		{"under _has", "Patient", "value", []Pair{{"_has:Observation:patient:" + focus, "x"}}},
		{"many chains", "Observation", "too-costly", repeat(100, Pair{"subject.general-practitioner.name", "x"})},
		{"many typed chains", "Observation", "too-costly", repeat(100, Pair{typed, "x"})},
		{"chains within _has", "Patient", "too-costly", repeat(100, Pair{"_has:Observation:patient:" + wide, "x"})},
		{"many _has", "Patient", "too-costly",
			repeat(100, Pair{"_has:Observation:patient:_has:Provenance:target:_has:AuditEvent:entity:_id", "x"})},
		{"chains of many alternatives", "Observation", "too-costly",
			repeat(30, Pair{"subject.identifier", strings.Repeat("x,", 999) + "x"})},
		{"a deep chain", "Observation", "too-costly", []Pair{{"patient.link.link.link.link.link.name", "x"}}},
	}

	ps := newMemory().ps
	for _, row := range rows {
		for _, strict := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, strict %v", row.name, strict), func(t *testing.T) {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				_, err := ps.Parse(context.Background(), []string{row.typ}, row.pairs, strict)
				runtime.ReadMemStats(&after)

				var e *Error
				if !errors.As(err, &e) || e.Code != row.code {
					t.Errorf("got %v, want %s", err, row.code)
				}
				if used := after.TotalAlloc - before.TotalAlloc; used > 32<<20 {
					t.Errorf("%d bytes were allocated", used)
				}
			})
		}
	}
}

func repeat(n int, p Pair) []Pair {
	var all []Pair
	for range n {
		all = append(all, p)
	}
	return all
}

func TestParsingEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, name := range []string{"name", "organization.name", "_has:Observation:patient:code"} {
		t.Run(name, func(t *testing.T) {
			_, err := newMemory().ps.Parse(ctx, []string{"Patient"}, []Pair{{name, "x"}}, false)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		})
	}
}
