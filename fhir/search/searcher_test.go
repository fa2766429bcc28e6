package search

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"fhirdest.example/fhir/sample"
)

// pushing is an index that searches by itself: as the reference does, but for the
// order.
type pushing struct {
	*memory
	takes func(*Query) bool
	err   error
	asked int
}

func (p *pushing) Search(ctx context.Context, q *Query, filter func(string) Filter) ([]uint64, bool, error) {
	p.asked++
	if p.err != nil || !p.takes(q) {
		return nil, false, p.err
	}

	unsorted := *q
	unsorted.Sort = nil
	r, err := NewFinder(ctx, p.memory, filter, filter).Find(&unsorted)
	if err != nil {
		return nil, true, err
	}

	slices.Reverse(r.Docs)
	return r.Docs, true, nil
}

// An index that searches by itself is asked first and finds what the Finder finds,
// in the same order and for the same reader; what it does not take, the Finder
// finds.
func TestSearcherFindsWhatTheFinderFinds(t *testing.T) {
	m := newMemory()
	err := sample.Generate(6, func(_, _ string, body []byte) error { m.add(t, string(body)); return nil })
	if err != nil {
		t.Fatal(err)
	}
	m.settle()
	only, err := m.ps.Parse(t.Context(), []string{"Patient"}, []Pair{{"gender", "female"}}, true)
	if err != nil {
		t.Fatal(err)
	}

	for _, row := range []struct {
		name   string
		takes  func(*Query) bool
		filter func(string) Filter
		hides  bool
	}{
		{"all", func(*Query) bool { return true }, func(string) Filter { return Everything() }, false},
		{"for a reader of some", func(*Query) bool { return true }, func(typ string) Filter {
			if typ != "Patient" {
				return Filter{}
			}
			return Filter{any: [][]Clause{only.Clauses}}
		}, false},
		{"hiding some", func(*Query) bool { return true }, func(string) Filter { return Everything() }, true},
		{"not those of one clause", func(q *Query) bool { return len(q.Clauses) > 1 },
			func(string) Filter { return Everything() }, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(3, 3))
			p := &pushing{memory: m, takes: row.takes}
			found := 0

			for range 300 {
				typ, pairs := m.randomQuery(rnd)
				q, err := m.ps.Parse(t.Context(), []string{typ}, append(pairs, Pair{"_sort", "-_id"}), true)
				if err != nil {
					t.Fatalf("%s %v: %v", typ, pairs, err)
				}
				want, got := search(t, m, q, row.filter, row.hides), search(t, p, q, row.filter, row.hides)
				if !slices.Equal(got, want) {
					t.Errorf("%s %v: %v, want %v", typ, pairs, got, want)
				}

				found += len(want)
			}

			if p.asked != 300 || found == 0 {
				t.Errorf("asked %d times, %d found", p.asked, found)
			}
		})
	}
}

func search(t *testing.T, ix Index, q *Query, filter func(string) Filter, hides bool) []uint64 {
	t.Helper()
	f := NewFinder(t.Context(), ix, filter, filter)
	if hides {
		f.Visible = func(_ string, docs []uint64) ([]uint64, error) {
			return slices.DeleteFunc(docs, func(doc uint64) bool { return doc%3 == 0 }), nil
		}
	}
	r, err := f.Find(q)
	if err != nil {
		t.Fatal(err)
	}
	return r.Docs
}

// An error of the index is the search's, and not an empty answer.
func TestSearcherFails(t *testing.T) {
	m := newMemory()
	m.add(t, `{"resourceType":"Patient","id":"a"}`)
	m.settle()
	q, err := m.ps.Parse(t.Context(), []string{"Patient"}, []Pair{{"_id", "a"}}, true)
	if err != nil {
		t.Fatal(err)
	}
	all := func(string) Filter { return Everything() }
	if _, err := NewFinder(t.Context(), &pushing{
		memory: m,
		err:    ErrDamaged,
	}, all, all).Find(q); !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v", err)
	}
}
