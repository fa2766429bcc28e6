package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"

	"github.com/jackc/pgx/v5"
)

// A key of the index, as its callers bound ranges by, is a term, a byte 0 and the
// resource's number. The table has term and number in columns, in the same order.

// Bounds of how many rows of the index are read at once. Most scans end soon.
const (
	fewTerms  = 64
	manyTerms = 8192
)

// Scan implements fhir.Resources.
func (s *state) Scan(
	ctx context.Context, from, to []byte, f func(term []byte, doc uint64) bool,
) error {
	m := merge{f: f}
	if s.changing != nil {
		m.pendingTerms = s.changing.within(from, to)
	}

	var more bool
	var err error
	switch term, first, exact := oneTerm(from, to); {
	case m.dropped:
		more = true
	case exact:
		more, err = s.scanTerm(ctx, term, first, m.visit)
	default:
		more, err = s.scanTerms(ctx, from, to, m.visit)
	}

	if err == nil && more {
		m.rest()
	}
	return err
}

// oneTerm returns the term of a range that has no other, and the first number.
func oneTerm(from, to []byte) (term []byte, first uint64, ok bool) {
	n := len(to) - 1
	if n < 2 || to[n] != 1 || len(from) <= n || from[n] != 0 || !bytes.Equal(from[:n], to[:n]) {
		return nil, 0, false
	}

	switch number := from[n+1:]; len(number) {
	case 0:
		return from[:n], 0, true
	case 8:
		return from[:n], binary.BigEndian.Uint64(number), true
	}
	return nil, 0, false
}

// scanTerm goes through the resources that have one term.
func (s *state) scanTerm(
	ctx context.Context, term []byte, first uint64, f func([]byte, uint64) bool,
) (more bool, err error) {
	if first > lastNumber {
		return true, nil
	}

	for size := fewTerms; ; size = min(8*size, manyTerms) {
		var docs []int64
		err := s.ask(ctx, func(rows pgx.Rows) error {
			return rows.Scan(&docs)
		}, "select array(select doc from term where term = $1 and doc >= $2 order by doc limit $3)",
			term, int64(first), size)
		if err != nil {
			return false, err
		}

		for _, doc := range docs {
			if !f(term, uint64(doc)) {
				return false, nil
			}
		}
		if len(docs) < size {
			return true, nil
		}
		first = uint64(docs[len(docs)-1]) + 1
	}
}

// indexRow is a row of the index.
type indexRow struct {
	term []byte
	doc  uint64
}

// scanTerms goes through a range of keys.
func (s *state) scanTerms(
	ctx context.Context, from, to []byte, f func([]byte, uint64) bool,
) (more bool, err error) {
	const rows = "select term, doc from term where "
	within := func(page []indexRow) bool {
		var key []byte
		for _, r := range page {
			key = appendIndexKey(key[:0], r.term, r.doc)
			if bytes.Compare(key, from) >= 0 && bytes.Compare(key, to) < 0 && !f(r.term, r.doc) {
				return false
			}
		}
		return true
	}

	if shorter := termsBefore(from); len(shorter) > 0 {
		page, err := s.readIndex(ctx, rows+"term = any($1)", shorter)
		if err != nil || !within(page) {
			return false, err
		}
	}

	size := fewTerms
	page, err := s.readIndex(ctx, rows+"term >= $1 and term < $2 order by term, doc limit $3", from, to, size)
	for err == nil {
		if !within(page) {
			return false, nil
		}
		if len(page) < size {
			return true, nil
		}

		last := page[len(page)-1]
		size = min(8*size, manyTerms)
		page, err = s.readIndex(
			ctx,
			rows+"(term, doc) > ($1, $2) and term < $3 order by term, doc limit $4",
			last.term,
			int64(last.doc),
			to,
			size,
		)
	}
	return false, err
}

// termsBefore returns the terms that are before a bound, and whose keys may be behind
// it: where the bound goes on with the byte 0 that ends them.
func termsBefore(bound []byte) (terms [][]byte) {
	for i := 2; i < len(bound); i++ {
		if bound[i] == 0 {
			terms = append(terms, bound[:i])
		}
	}
	return terms
}

func (s *state) readIndex(ctx context.Context, sql string, args ...any) (page []indexRow, err error) {
	err = s.ask(ctx, func(rows pgx.Rows) error {
		var r indexRow
		err := rows.Scan(&r.term, &r.doc)
		page = append(page, r)
		return err
	}, sql, args...)
	return page, err
}

func appendIndexKey(b, term []byte, doc uint64) []byte {
	return binary.BigEndian.AppendUint64(append(append(b, term...), 0), doc)
}

// splitKey returns the parts of a key.
func splitKey(key string) (term []byte, doc uint64) {
	n := len(key) - 9
	return []byte(key[:n]), binary.BigEndian.Uint64([]byte(key[n+1:]))
}

// pendingTerms are the changes of a range of the index that are not written yet.
type pendingTerms struct {
	dropped bool     // of the database nothing counts
	added   []string // keys, in order
	removed map[string]bool
}

// within returns the changes of a range.
func (p *pending) within(from, to []byte) (out pendingTerms) {
	out.dropped = p.dropped
	for param, changes := range p.terms {
		if bytes.Compare(param[:], to) >= 0 || len(from) >= 2 && bytes.Compare(param[:], from[:2]) < 0 {
			continue
		}
		for key, comes := range changes {
			switch {
			case key < string(from) || key >= string(to):
			case comes:
				out.added = append(out.added, key)
			case out.removed == nil:
				out.removed = map[string]bool{key: true}
			default:
				out.removed[key] = true
			}
		}
	}

	slices.Sort(out.added)
	return out
}

// merge passes on the rows of a range, with the changes that are not written yet.
type merge struct {
	pendingTerms
	f   func(term []byte, doc uint64) bool
	key []byte
}

// visit passes on a row of the database, after those that come before it.
func (m *merge) visit(term []byte, doc uint64) bool {
	if len(m.added)+len(m.removed) == 0 {
		return m.f(term, doc)
	}

	m.key = appendIndexKey(m.key[:0], term, doc)
	for len(m.added) > 0 && m.added[0] < string(m.key) {
		if !m.next() {
			return false
		}
	}
	return m.removed[string(m.key)] || m.f(term, doc)
}

// next passes on the first that was added.
func (m *merge) next() bool {
	term, doc := splitKey(m.added[0])
	m.added = m.added[1:]
	return m.f(term, doc)
}

// rest passes on all that were added.
func (m *merge) rest() {
	for len(m.added) > 0 && m.next() {
	}
}
