package search

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
)

// TestOrderOfManyIsThatOfFew sorts more resources than are each asked for their terms,
// and finds the place of each again.
func TestOrderOfManyIsThatOfFew(t *testing.T) {
	const many = 2*maxCandidates + 100
	m := newMemory()
	type dated struct {
		doc uint64
		day int // 0: none
	}
	var want []dated
	for i := range many {
		d := dated{uint64(i + 1), i * 7 % 29}
		date := ""
		if d.day > 0 {
			date = fmt.Sprintf(`,"effectiveDateTime":"2026-03-%02d"`, d.day)
		}
		m.add(t, fmt.Sprintf(`{"resourceType":"Observation","id":"o%d"%s}`, i, date))
		want = append(want, d)
	}
	m.settle()

	for param, descending := range map[string]bool{
		"date":  false,
		"-date": true,
	} {
		t.Run(param, func(t *testing.T) {
			slices.SortFunc(want, func(a, b dated) int {
				switch {
				case a.day == b.day:
					return cmp.Compare(a.doc, b.doc)
				case a.day == 0 || b.day == 0:
					return cmp.Compare(b.day, a.day)
				case descending:
					return b.day - a.day
				}
				return a.day - b.day
			})

			q, err := m.ps.Parse(t.Context(), []string{"Observation"}, []Pair{{"_sort", param}}, true)
			if err != nil {
				t.Fatal(err)
			}
			find := func() *Result {
				r, err := NewFinder(t.Context(), m, everything, everything).Find(q)
				if err != nil {
					t.Fatal(err)
				}
				return r
			}

			r := find()
			for i, d := range want {
				if r.Docs[i] != d.doc {
					t.Fatalf("place %d: resource %d, want %d", i, r.Docs[i], d.doc)
				}
				for past, place := range map[bool]int{
					false: i,
					true:  i + 1,
				} {
					if at, err := r.Seek(r.Position(i), past); err != nil || at != place {
						t.Fatalf("place %d is found at %d: %v", i, at, err)
					}
				}
			}

			// the memory of a sort is bounded for each resource
			if n := testing.AllocsPerRun(3, func() { find() }); n > many/4 {
				t.Errorf("%.0f allocations for %d resources", n, many)
			}
		})
	}
}

func everything(string) Filter { return Everything() }
