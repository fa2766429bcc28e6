package search

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"fhirdest.example/fhir/sample"
)

// orderly is an index that goes through its terms in their order.
type orderly struct {
	*memory
	scanned int // keys
}

func (o *orderly) Scan(ctx context.Context, from, to []byte, f func([]byte, uint64) bool) error {
	return o.memory.Scan(ctx, from, to, func(term []byte, doc uint64) bool {
		o.scanned++
		return f(term, doc)
	})
}

func (o *orderly) Last(_ context.Context, from, to []byte) ([]byte, bool, error) {
	return o.last(from, to), true, nil
}

// paged follows the pages of a query as far as First has them.
func paged(t *testing.T, f *Finder, q *Query, count int) (docs []uint64, ok bool) {
	t.Helper()
	var position []byte
	for {
		r, ok, err := f.First(q, position, count)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return docs, false
		}

		docs = append(docs, r.Docs...)
		if len(r.Docs) < count {
			return docs, true
		}
		position = r.Position(count - 1)
	}
}

// The pages that an index gives in its own order are those of the whole result: by
// every kind of parameter, by several, for readers of some, and where rules hide some.
func TestSortedPagesAreThoseOfTheWholeResult(t *testing.T) {
	m := newMemory()
	err := sample.Generate(12, func(_, _ string, body []byte) error {
		m.add(t, string(body))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}

	for i, quantity := range []string{
		`"value":-3.5`,
		`"value":120`,
		`"value":1e-3,"unit":"x","code":"x"`,
		`"value":0`,
	} {
		m.add(t, fmt.Sprintf(`{"resourceType":"Observation","id":"q%d","valueQuantity":{%s}}`, i, quantity))
	}
	m.add(t, `{"resourceType":"Observation","id":"p1","effectivePeriod":{"start":"2020-01-01"}}`)
	m.add(t, `{"resourceType":"Observation","id":"p2","effectivePeriod":{"end":"2030-01-01"}}`)
	m.add(t, `{"resourceType":"Patient","id":"names","name":[{"family":"Aa"},{"family":"Zz"}]}`)
	m.settle()
	var some Filter
	for _, of := range []Pair{{"gender", "female"}, {"family", "a"}} {
		q, err := m.ps.Parse(t.Context(), []string{"Patient"}, []Pair{of}, true)
		if err != nil {
			t.Fatal(err)
		}
		some = some.Or(q.Clauses)
	}

	for _, row := range []struct {
		typ, by string
		filter  Filter
		hides   bool
	}{
		{"Observation", "date", Everything(), false},
		{"Observation", "-date", Everything(), true},
		{"Observation", "-date,code", Everything(), false},
		{"Observation", "code,-_id", Everything(), true},
		{"Observation", "-code", Everything(), false},
		{"Observation", "value-quantity", Everything(), false},
		{"Observation", "-value-quantity,date", Everything(), false},
		{"Observation", "subject", Everything(), false},
		{"Patient", "family", Everything(), false},
		{"Patient", "-family,birthdate", Everything(), false},
		{"Patient", "-name", some, false},
		{"Patient", "_lastUpdated,-_id", some, true},
	} {
		t.Run(row.typ+" by "+row.by, func(t *testing.T) {
			q, err := m.ps.Parse(t.Context(), []string{row.typ}, []Pair{{"_sort", row.by}}, true)
			if err != nil {
				t.Fatal(err)
			}

			filter := func(string) Filter { return row.filter }
			want := search(t, m, q, filter, row.hides)
			for _, count := range []int{1, 3, 20, 2000} {
				f := NewFinder(t.Context(), &orderly{memory: m}, filter, filter)
				if row.hides {
					f.Visible = odd
				}
				if got, ok := paged(t, f, q, count); !ok || !slices.Equal(got, want) {
					t.Errorf("pages of %d: %d resources, %v; want %d", count, len(got), ok, len(want))
				}
			}
		})
	}
}

// odd hides what search hides.
func odd(_ string, docs []uint64) ([]uint64, error) {
	return slices.DeleteFunc(docs, func(doc uint64) bool { return doc%3 == 0 }), nil
}

// A sorted page costs what is on it, however many resources there are; where it would
// lead through too many others, it is left to Find.
func TestSortedPageIsBounded(t *testing.T) {
	const many = 4 * maxFirst
	m := newMemory()
	rnd := rand.New(rand.NewPCG(5, 5))
	for i := range many {
		status := "final"
		if i%maxFirst == 0 {
			status = "amended"
		}
		m.add(t, fmt.Sprintf(`{"resourceType":"Observation","id":"o%d","status":%q,`+
			`"effectiveDateTime":"2026-03-01T%02d:%02d:%02dZ"}`, i, status, rnd.IntN(24), rnd.IntN(60), rnd.IntN(60)))
	}
	m.settle()

	for _, row := range []struct {
		query []Pair
		ok    bool
	}{
		{[]Pair{{"_sort", "date"}}, true},
		{[]Pair{{"_sort", "-date"}}, true},
		{[]Pair{{"_sort", "-date,_id"}}, true},
		{[]Pair{{"_sort", "status"}}, true},
		{[]Pair{{"_sort", "-date"}, {"status", "final"}}, true},
		{[]Pair{{"_sort", "-status,date"}}, false},                // all of the first value would have to be sorted
		{[]Pair{{"_sort", "date"}, {"status", "amended"}}, false}, // a list of four is less work
		{[]Pair{{"_sort", "date"}, {"status:not", "final"}}, false},
	} {
		t.Run(fmt.Sprint(row.query), func(t *testing.T) {
			q, err := m.ps.Parse(t.Context(), []string{"Observation"}, row.query, true)
			if err != nil {
				t.Fatal(err)
			}

			o := &orderly{memory: m}
			r, ok, err := NewFinder(t.Context(), o, everything, everything).First(q, nil, 20)
			if err != nil || ok != row.ok {
				t.Fatalf("%v, %v, want %v", ok, err, row.ok)
			}
			if o.scanned > 3*maxFirst {
				t.Errorf("%d keys were read", o.scanned)
			}
			if ok && !slices.Equal(r.Docs, search(t, m, q, everything, false)[:20]) {
				t.Errorf("found %v", r.Docs)
			}
		})
	}
}

// The last pages, too, are found without a sort of all: those of the few resources without
// a value among many others, and the one behind them.
func TestSortedPagesReachTheEnd(t *testing.T) {
	const many = maxFirst + 1000
	m := newMemory()
	for i := range many {
		at := ""
		if i%500 != 0 {
			at = fmt.Sprintf(`,"effectiveDateTime":"2026-03-01T00:00:%02dZ"`, i%60)
		}
		m.add(t, fmt.Sprintf(`{"resourceType":"Observation","id":"o%d","status":"final"%s}`, i, at))
	}
	m.settle()

	for _, row := range []struct {
		by    string
		hides bool
	}{
		{"date", false},
		{"-date", true},
		{"date,-_id", true},
		{"status", false},
	} {
		t.Run(row.by, func(t *testing.T) {
			q, err := m.ps.Parse(t.Context(), []string{"Observation"}, []Pair{{"_sort", row.by}}, true)
			if err != nil {
				t.Fatal(err)
			}

			f := NewFinder(t.Context(), &orderly{memory: m}, everything, everything)
			if row.hides {
				f.Visible = odd
			}
			whole, err := f.Find(q)
			if err != nil {
				t.Fatal(err)
			}

			want := whole.Docs[len(whole.Docs)-60:]
			position := whole.Position(len(whole.Docs) - 61)
			var got []uint64
			for range 7 {
				r, ok, err := f.First(q, position, 10)
				if !ok || err != nil {
					t.Fatalf("after %d: %v, %v", len(got), ok, err)
				}
				if got = append(got, r.Docs...); len(r.Docs) > 0 {
					position = r.Position(len(r.Docs) - 1)
				}
			}

			if !slices.Equal(got, want) {
				t.Errorf("the last %d are found in pages as %d", len(want), len(got))
			}
		})
	}
}

// What the reader may find of a whole type is counted as Find lists it, whatever marks
// and rules hide; other queries are left to Find.
func TestTallyIsTheLengthOfTheResult(t *testing.T) {
	const many = 2*counted + 100
	m := newMemory()
	for i := range many {
		m.add(t, fmt.Sprintf(`{"resourceType":"Observation","id":"o%d","status":"final"}`, i))
	}
	m.settle()

	for _, row := range []struct {
		name  string
		query []Pair
		hides bool
		ok    bool
	}{
		{"all", nil, false, true},
		{"sorted", []Pair{{"_sort", "_id"}}, false, true},
		{"where rules hide some", nil, true, true},
		{"by status", []Pair{{"status", "final"}}, false, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			q, err := m.ps.Parse(t.Context(), []string{"Observation"}, row.query, true)
			if err != nil {
				t.Fatal(err)
			}

			f := NewFinder(t.Context(), &orderly{memory: m}, everything, everything)
			if row.hides {
				f.Visible = odd
			}
			n, ok, err := Tally(f, q)
			if want := len(search(t, m, q, everything, row.hides)); err != nil || ok != row.ok || ok && n != want {
				t.Errorf("%d, %v, %v; want %d", n, ok, err, want)
			}
			if n, err := Count(f, q); err != nil || n != len(search(t, m, q, everything, row.hides)) {
				t.Errorf("counted %d, %v", n, err)
			}
		})
	}

	if _, ok, err := Tally(NewFinder(t.Context(), m, everything, everything), &Query{
		Types: []string{"Observation"},
	}); ok || err != nil {
		t.Errorf("an index without an order: %v, %v", ok, err)
	}
}

// A sort of more resources than may have their keys in memory is refused.
func TestSortOfTooManyIsRefused(t *testing.T) {
	m := newMemory()
	f := NewFinder(t.Context(), m, everything, everything)
	r := &Result{
		Docs: make([]uint64, MaxSorted+1),
		sort: []Sort{{Param: Lookup("Observation", "date")}},
	}
	f.order(r)

	var e *Error
	if !errors.As(f.err, &e) || e.Code != "too-costly" || r.sorted != nil {
		t.Errorf("%v, %d keys", f.err, len(r.sorted))
	}
}
