package search

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"
)

// sorted is a resource with its sort keys.
type sorted struct {
	doc  uint64
	keys []string
}

// MaxSorted bounds the resources whose sort keys are in memory together, some 40 MB. A
// sort of more is refused, where First does not find its page.
const MaxSorted = 500_000

// order puts the result in the order asked for; resources without a value for
// a key come last, equal ones in the order of their numbers.
func (f *Finder) order(r *Result) {
	if len(r.sort) == 0 || len(r.Docs) == 0 {
		return
	}
	if len(r.Docs) > MaxSorted {
		f.fail(&Error{
			Code:   "too-costly",
			Detail: fmt.Sprintf("More than %d resources would have to be sorted: narrow the search.", MaxSorted),
		})
		return
	}

	n := len(r.sort)
	keys := make([]string, n*len(r.Docs))
	r.sorted = make([]sorted, len(r.Docs))
	for i, doc := range r.Docs {
		r.sorted[i] = sorted{doc, keys[i*n : (i+1)*n]}
	}

	for i, s := range r.sort {
		f.sortKeys(r, i, s)
	}

	slices.SortFunc(r.sorted, func(a, b sorted) int { return r.compare(&a, &b) })
	for i := range r.sorted {
		r.Docs[i] = r.sorted[i].doc
	}
}

// sortKeys fills in the i-th key of each resource.
func (f *Finder) sortKeys(r *Result, i int, s Sort) {
	if len(r.Docs) <= maxCandidates {
		r.fewKeys(f, i, s)
		return
	}

	last := "" // many resources in a row have the same value: they share it
	take := func(doc uint64, value []byte) {
		at, ok := slices.BinarySearch(r.Docs, doc)
		if !ok || !s.Param.orders(value) {
			return
		}

		v := sortable(s.Param.Kind, value)
		if last != string(v) {
			last = string(v)
		}
		key := &r.sorted[at].keys[i]
		if *key == "" || s.Descending == (last > *key) {
			*key = last
		}
	}

	all := allOf(s.Param)
	f.scan(all.from, all.to, func(term []byte, doc uint64) bool {
		take(doc, term[2:])
		return f.step()
	})
}

// fewKeys is sortKeys by the resources' own terms.
func (r *Result) fewKeys(f *Finder, i int, s Sort) {
	at := 0
	f.eachTerms(r.Docs, func(_ uint64, _ string, terms Terms) bool {
		r.sorted[at].keys[i] = s.key(terms)
		at++
		return f.step()
	})
}

// key returns the value that a resource is sorted by: its least, or its greatest when
// descending; "" when it has none.
func (s Sort) key(t Terms) (key string) {
	t.of(s.Param.id, func(value []byte) bool {
		if s.Param.orders(value) {
			if v := sortable(s.Param.Kind, value); key == "" || s.before(v, []byte(key)) {
				key = string(v)
			}
		}
		return true
	})
	return key
}

// before reports whether one value comes before another.
func (s Sort) before(a, b []byte) bool {
	if s.Descending {
		a, b = b, a
	}
	return bytes.Compare(a, b) < 0
}

// orders reports whether resources are sorted by a value: not by one that is
// indexed besides for what else it may be searched by.
func (p *Param) orders(value []byte) bool {
	switch {
	case len(value) == 0:
		return false
	case value[0] == noValue[0] && len(value) == 1:
		return false
	case p.Kind == Token:
		return value[0] != ofType[0]
	case p.Kind == Reference:
		return value[0] != inline[0]

	case p.Kind == URI:
		return bytes.IndexByte(value, sep[0]) < 0
	case p.Kind == String:
		return value[0] != longText[0] && value[len(value)-1] != alias[0] &&
			value[len(value)-1] != longText[0]
	}

	return true
}

// sortable is what of a value orders it: the class of a date or number does not.
func sortable(k Kind, value []byte) []byte {
	if k == Date || k == Quantity || k == Number {
		return value[1:]
	}
	return value
}

func (r *Result) compare(a, b *sorted) int {
	for i, s := range r.sort {
		x, y := a.keys[i], b.keys[i]
		if x == y {
			continue
		}
		if x == "" || y == "" {
			return cmp.Compare(y, x)
		}

		c := cmp.Compare(x, y)
		if s.Descending {
			c = -c
		}
		return c
	}

	return cmp.Compare(a.doc, b.doc)
}

// Position is a place in a result that stays while resources come and go: the
// sort keys and number of a resource.
func (r *Result) Position(i int) []byte {
	b := binary.BigEndian.AppendUint64(nil, r.Docs[i])
	for _, k := range r.at(i).keys {
		b = binary.AppendUvarint(b, uint64(len(k)))
		b = append(b, k...)
	}
	return b
}

// place decodes a position.
func (r *Result) place(position []byte) (*sorted, error) {
	if len(position) < 8 {
		return nil, errors.New("search: short position")
	}

	doc, rest := binary.BigEndian.Uint64(position), position[8:]
	keys := make([]string, len(r.sort))
	for i := range keys {
		n, k := binary.Uvarint(rest)
		if k <= 0 || n > uint64(len(rest)-k) {
			return nil, errors.New("search: bad position")
		}
		keys[i], rest = string(rest[k:k+int(n)]), rest[k+int(n):]
	}

	return &sorted{doc, keys}, nil
}

// Seek returns the index of the first resource at or, with past, after a
// position.
func (r *Result) Seek(position []byte, past bool) (int, error) {
	want, err := r.place(position)
	if err != nil {
		return 0, err
	}

	at, found := sort.Find(len(r.Docs), func(i int) int {
		return r.compare(want, r.at(i))
	})
	if found && past {
		at++
	}

	return at, nil
}

// at returns the i-th resource with its keys.
func (r *Result) at(i int) *sorted {
	if r.sorted == nil {
		return &sorted{doc: r.Docs[i]}
	}
	return &r.sorted[i]
}
