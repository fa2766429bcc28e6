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
	fewDocs   = 512 // of one term
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

	more, err := true, error(nil)
	if !m.dropped {
		more, err = s.scan(ctx, from, to, m.visit)
	}
	if err == nil && more {
		m.rest()
	}
	return err
}

// scan goes through a range of the database, or of what is kept of it.
func (s *state) scan(
	ctx context.Context, from, to []byte, f func([]byte, uint64) bool,
) (more bool, err error) {
	term, first, exact := oneTerm(from, to)
	begin := from
	if exact {
		begin = from[:len(term)+1] // that of all resources with the term
	}
	if kept := s.store.cache.list(s.base, begin, to); kept != nil {
		s.uses(&kept.span)
		for _, r := range kept.rows {
			if r.doc >= first && !f(r.term, r.doc) {
				return false, nil
			}
		}
		return true, nil
	}

	if exact {
		return s.scanTerm(ctx, term, first, to, f)
	}
	return s.scanTerms(ctx, from, to, f)
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
	ctx context.Context, term []byte, first uint64, to []byte, f func([]byte, uint64) bool,
) (more bool, err error) {
	if first > lastNumber {
		return true, nil
	}

	for size := fewDocs; ; size = min(8*size, manyTerms) {
		var docs []int64
		err := s.ask(ctx, func(rows pgx.Rows) error {
			return rows.Scan(&docs)
		}, "select array(select doc from term where term = $1 and doc >= $2 order by doc limit $3)",
			term, int64(first), size)
		if err != nil {
			return false, err
		}

		if first == 0 && len(docs) < size && size == fewDocs {
			s.keepDocs(term, to, docs)
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

// keepDocs keeps the list of a term.
func (s *state) keepDocs(term, to []byte, docs []int64) {
	rows := make([]indexRow, len(docs))
	own := bytes.Clone(term)
	for i, doc := range docs {
		rows[i] = indexRow{
			term: own,
			doc:  uint64(doc),
		}
	}
	from := append(bytes.Clone(term), 0)
	s.store.cache.keepList(s.base, from, to, own, rows)
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
	var key []byte
	outside := func(r indexRow) bool {
		key = appendIndexKey(key[:0], r.term, r.doc)
		return bytes.Compare(key, from) < 0 || bytes.Compare(key, to) >= 0
	}
	within := func(page []indexRow) bool {
		for _, r := range page {
			if !outside(r) && !f(r.term, r.doc) {
				return false
			}
		}
		return true
	}

	b := &pgx.Batch{}
	var before, page []indexRow
	if shorter := termsBefore(from); len(shorter) > 0 {
		queueIndex(b, &before, rows+"term = any($1)", shorter)
	}
	size := fewTerms
	queueIndex(b, &page, rows+"term >= $1 and term < $2 order by term, doc limit $3", from, to, size)
	if err := s.read(ctx, b); err != nil {
		return false, err
	}
	if len(before) == 0 && len(page) < size && ofOneParam(from, to) {
		s.store.cache.keepList(s.base, from, to, nil, slices.DeleteFunc(slices.Clone(page), outside))
	}
	if !within(before) {
		return false, nil
	}

	for err == nil {
		if !within(page) {
			return false, nil
		}
		if len(page) < size {
			return true, nil
		}

		last := page[len(page)-1]
		size = min(8*size, manyTerms)
		page = nil
		b = &pgx.Batch{}
		queueIndex(
			b,
			&page,
			rows+"(term, doc) > ($1, $2) and term < $3 order by term, doc limit $4",
			last.term,
			int64(last.doc),
			to,
			size,
		)
		err = s.read(ctx, b)
	}
	return false, err
}

// ofOneParam reports whether all terms of a range are of one search parameter.
func ofOneParam(from, to []byte) bool {
	if len(from) < 2 {
		return false
	}
	next := binary.BigEndian.AppendUint16(nil, binary.BigEndian.Uint16(from)+1)
	return bytes.Compare(to, next) <= 0
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

func queueIndex(b *pgx.Batch, page *[]indexRow, sql string, args ...any) {
	queueRows(b, func(rows pgx.Rows) error {
		var r indexRow
		err := rows.Scan(&r.term, &r.doc)
		*page = append(*page, r)
		return err
	}, sql, args...)
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
