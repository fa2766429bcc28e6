package search

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"fhirdest.example/fhir/tree"
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

// ending is a context that ends when it has been asked a number of times.
type ending struct {
	context.Context
	left *int
}

func (c ending) Err() error {
	if *c.left--; *c.left < 0 {
		return context.Canceled
	}
	return nil
}

// A chain within one resource, whose contained resources all refer to each other,
// leads to a number of them that grows with each link (R4 search 3.1.1.5.5).
func TestChainWithinOneResourceEndsWithItsContext(t *testing.T) {
	const contained = 12
	var inner, refs []string
	for i := range contained {
		refs = append(refs, fmt.Sprintf(`{"reference":"#o%d"}`, i))
	}
	all := strings.Join(refs, ",")

	for i := range contained {
		inner = append(inner, fmt.Sprintf(
			`{"resourceType":"Observation","id":"o%d","status":"final","hasMember":[%s]}`, i, all))
	}

	m := newMemory()
	m.add(t, `{"resourceType":"Observation","id":"x","status":"final","contained":[`+strings.Join(inner, ",")+
		`],"hasMember":[`+all+`]}`)
	m.settle()

	for _, row := range []struct {
		status string
		asked  int
		found  int
		ends   bool
	}{
		{"final", 500, 1, false},
		{"amended", 1_000_000, 0, false},
		{"amended", 500, 0, true},
	} {
		t.Run(fmt.Sprintf("%s, %d", row.status, row.asked), func(t *testing.T) {
			link := "has-member:Observation."
			q, err := m.ps.Parse(t.Context(), []string{"Observation"},
				[]Pair{{link + link + link + "status", row.status}}, true)
			if err != nil {
				t.Fatal(err)
			}

			may := func(string) Filter { return Everything() }
			found, err := NewFinder(ending{t.Context(), &row.asked}, m, may, may).Find(q)
			if row.ends {
				if !errors.Is(err, context.Canceled) {
					t.Errorf("%v, %v", found, err)
				}
				return
			}

			if err != nil || len(found.Docs) != row.found {
				t.Errorf("%v, %v, want %d", found, err, row.found)
			}
		})
	}
}

// What is contained is gone through once, however many references there are.
func TestContainedIsFoundByID(t *testing.T) {
	root, err := tree.Parse([]byte(`{"resourceType":"Basic","contained":[{"resourceType":"Patient","id":"a"},` +
		`{"resourceType":"Group","id":"a"},{"resourceType":"Group","id":"b"}]}`))
	if err != nil {
		t.Fatal(err)
	}

	c := &container{root: root}
	for _, row := range []struct{ id, want string }{
		{"a", "Patient"}, // the first, as ever
		{"b", "Group"},
		{"c", ""},
	} {
		t.Run(row.id, func(t *testing.T) {
			if got := c.find(row.id).Get("resourceType").Text(); got != row.want {
				t.Errorf("%q, want %q", got, row.want)
			}
		})
		c.root = nil // it is not read again
	}
}
