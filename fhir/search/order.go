package search

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"slices"
)

// order puts the result in the order asked for; resources without a value for
// a key come last, equal ones in the order of their numbers.
func (f *Finder) order(r *Result) {
	if len(r.sort) == 0 || len(r.Docs) == 0 {
		return
	}

	r.keys = make(map[uint64][]string, len(r.Docs))
	for _, doc := range r.Docs {
		r.keys[doc] = make([]string, len(r.sort))
	}

	for i, s := range r.sort {
		f.sortKeys(r, i, s)
	}

	slices.SortFunc(r.Docs, func(a, b uint64) int {
		return r.compare(r.keys[a], a, r.keys[b], b)
	})
}

// sortKeys fills in the i-th key of each resource: its least value, or its
// greatest when descending.
func (f *Finder) sortKeys(r *Result, i int, s Sort) {
	take := func(doc uint64, value []byte) {
		keys, ok := r.keys[doc]
		if !ok {
			return
		}
		if !s.Param.orders(value) {
			return
		}

		v := sortable(s.Param.Kind, value)
		if old := keys[i]; old == "" || s.Descending == (v > old) {
			keys[i] = v
		}
	}

	if len(r.Docs) > maxCandidates {
		all := allOf(s.Param)
		f.scan(all.from, all.to, func(term []byte, doc uint64) bool {
			take(doc, term[2:])
			return f.step()
		})

		return
	}

	f.eachTerms(r.Docs, func(doc uint64, _ string, terms Terms) bool {
		terms.of(s.Param.id, func(value []byte) bool {
			take(doc, value)
			return true
		})
		return f.step()
	})
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
func sortable(k Kind, value []byte) string {
	if k == Date || k == Quantity || k == Number {
		return string(value[1:])
	}
	return string(value)
}

func (r *Result) compare(a []string, docA uint64, b []string, docB uint64) int {
	for i, s := range r.sort {
		if a[i] == b[i] {
			continue
		}
		if a[i] == "" || b[i] == "" {
			return cmp.Compare(b[i], a[i])
		}

		c := cmp.Compare(a[i], b[i])
		if s.Descending {
			c = -c
		}
		return c
	}

	return cmp.Compare(docA, docB)
}

// Position is a place in a result that stays while resources come and go: the
// sort keys and number of a resource.
func (r *Result) Position(i int) []byte {
	doc := r.Docs[i]
	b := binary.BigEndian.AppendUint64(nil, doc)
	for _, k := range r.keys[doc] {
		b = binary.AppendUvarint(b, uint64(len(k)))
		b = append(b, k...)
	}
	return b
}

// Seek returns the index of the first resource at or, with past, after a
// position.
func (r *Result) Seek(position []byte, past bool) (int, error) {
	if len(position) < 8 {
		return 0, errors.New("search: short position")
	}

	doc, rest := binary.BigEndian.Uint64(position), position[8:]
	keys := make([]string, len(r.sort))
	for i := range keys {
		n, k := binary.Uvarint(rest)
		if k <= 0 || n > uint64(len(rest)-k) {
			return 0, errors.New("search: bad position")
		}
		keys[i], rest = string(rest[k:k+int(n)]), rest[k+int(n):]
	}

	at, found := slices.BinarySearchFunc(r.Docs, doc, func(d, _ uint64) int {
		return r.compare(r.keysOf(d), d, keys, doc)
	})
	if found && past {
		at++
	}

	return at, nil
}

func (r *Result) keysOf(doc uint64) []string {
	return r.keys[doc]
}
