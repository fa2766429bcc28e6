package postgres

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"slices"

	"github.com/jackc/pgx/v5"

	"fhirdest.example/fhir"
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
	h := head{
		indexRange: indexRange{
			from: from,
			to:   to,
			one:  term,
		},
	}
	if exact {
		h.from = from[:len(term)+1] // that of all resources with the term
	}

	known, whole := h.known(s)
	for _, r := range known {
		if r.doc >= first && !f(r.term, r.doc) {
			return false, nil
		}
	}
	if whole {
		return true, nil
	}
	h.rows = slices.Clip(known)

	if exact {
		return s.scanTerm(ctx, &h, first, f)
	}
	return s.scanTerms(ctx, &h, f)
}

// known returns the first rows of a range, as far as they were read before; whole
// reports that these are all.
func (r indexRange) known(s *state) (rows []indexRow, whole bool) {
	key := r.key()
	if rows, ok := s.ahead[key]; ok {
		return rows, true
	}
	kept := s.store.cache.list(s.base, key)
	if kept == nil {
		return nil, false
	}
	s.uses(&kept.span)
	return kept.rows, !kept.part
}

// indexRange is a range of keys.
type indexRange struct {
	from, to []byte
	one      []byte // the term, of a range that has no other
}

// rangeOf is the range of a term.
func rangeOf(term []byte) indexRange {
	return indexRange{
		from: append(bytes.Clone(term), 0),
		to:   append(bytes.Clone(term), 1),
		one:  term,
	}
}

func (r indexRange) clone() indexRange {
	return indexRange{
		from: bytes.Clone(r.from),
		to:   bytes.Clone(r.to),
		one:  bytes.Clone(r.one),
	}
}

// key names the range.
func (r indexRange) key() string {
	b := binary.AppendUvarint(make([]byte, 0, 128), uint64(len(r.from)))
	b = append(b, r.from...)
	return string(append(b, r.to...))
}

// contains reports whether a row is in the range.
func (r indexRange) contains(row indexRow) bool {
	key := appendIndexKey(make([]byte, 0, 128), row.term, row.doc)
	return bytes.Compare(key, r.from) >= 0 && bytes.Compare(key, r.to) < 0
}

// head is the first rows of a range, which are kept for others.
type head struct {
	indexRange
	rows []indexRow
	full bool // more rows have followed than are kept
}

// add adds rows that follow.
func (h *head) add(rows []indexRow) {
	n := min(len(rows), maxRows-len(h.rows))
	h.full = h.full || n < len(rows)
	h.rows = append(h.rows, rows[:n]...)
}

// keep keeps what was read of the range; all reports that nothing follows.
func (h *head) keep(s *state, all bool) {
	part := h.full || !all
	if !part || len(h.rows) > 0 {
		s.store.cache.keepList(s.base, h.indexRange, h.rows, part)
	}
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

// scanTerm goes through the resources that have one term and a number not below first,
// behind those of the head.
func (s *state) scanTerm(
	ctx context.Context, h *head, first uint64, f func([]byte, uint64) bool,
) (more bool, err error) {
	if first > lastNumber {
		return true, nil
	}

	next := uint64(0)
	if len(h.rows) > 0 {
		next = h.rows[len(h.rows)-1].doc + 1
	}
	keeps := first <= next
	first = max(first, next)
	term := bytes.Clone(h.one)

	size := fewDocs
	if !keeps {
		size = fewTerms // a page that follows others
	}
	for ; ; size = min(8*size, manyTerms) {
		var docs []int64
		err := s.ask(ctx, func(rows pgx.Rows) error {
			return rows.Scan(&docs)
		}, "select array(select doc from term where term = $1 and doc >= $2 order by doc limit $3)",
			term, int64(first), size)
		if err != nil {
			return false, err
		}

		page := rowsOf(term, docs)
		if keeps {
			h.add(page)
			h.keep(s, len(docs) < size)
			keeps = !h.full
		}

		for _, r := range page {
			if !f(r.term, r.doc) {
				return false, nil
			}
		}
		if len(docs) < size {
			return true, nil
		}
		first = page[len(page)-1].doc + 1
	}
}

// indexRow is a row of the index.
type indexRow struct {
	term []byte
	doc  uint64
}

// rowsOf returns the rows of a term that has these resources.
func rowsOf(term []byte, docs []int64) []indexRow {
	rows := make([]indexRow, len(docs))
	for i, doc := range docs {
		rows[i] = indexRow{
			term: term,
			doc:  uint64(doc),
		}
	}
	return rows
}

// compare is the order of the table.
func (r indexRow) compare(other indexRow) int {
	return cmp.Or(bytes.Compare(r.term, other.term), cmp.Compare(r.doc, other.doc))
}

// scanTerms goes through a range of keys, behind the rows of the head.
func (s *state) scanTerms(
	ctx context.Context, h *head, f func([]byte, uint64) bool,
) (more bool, err error) {
	const rows = "select term, doc from term where "
	b := &pgx.Batch{}
	var before, page []indexRow
	size := fewTerms
	keeps := ofOneParam(h.from, h.to)
	if n := len(h.rows); n > 0 {
		size = fewDocs
		queueAfter(b, &page, h.rows[n-1], h.to, size)
	} else {
		if shorter := termsBefore(h.from); len(shorter) > 0 {
			queueIndex(b, &before, rows+"term = any($1)", shorter)
		}
		queueIndex(b, &page, rows+"term >= $1 and term < $2 order by term, doc limit $3", h.from, h.to, size)
	}

	for {
		if err := s.read(ctx, b); err != nil {
			return false, err
		}
		end := len(page) < size
		var last indexRow
		if !end {
			last = page[size-1]
		}

		page = slices.DeleteFunc(page, h.outside)
		if keeps = keeps && len(before) == 0; keeps {
			h.add(page)
			h.keep(s, end)
			keeps = !h.full
		}

		for _, r := range append(slices.DeleteFunc(before, h.outside), page...) {
			if !f(r.term, r.doc) {
				return false, nil
			}
		}
		if end {
			return true, nil
		}

		size = min(8*size, manyTerms)
		b, before, page = &pgx.Batch{}, nil, nil
		queueAfter(b, &page, last, h.to, size)
	}
}

// outside reports whether a row is not in the range.
func (r indexRange) outside(row indexRow) bool { return !r.contains(row) }

// queueAfter queues what reads the rows after one, up to a bound.
func queueAfter(b *pgx.Batch, page *[]indexRow, after indexRow, to []byte, size int) {
	queueIndex(
		b,
		page,
		"select term, doc from term where (term, doc) > ($1, $2) and term < $3 order by term, doc limit $4",
		after.term,
		int64(after.doc),
		to,
		size,
	)
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

// Bounds of what is read ahead: the resources of one term, and the bytes of one body.
const (
	aheadDocs = 8
	aheadBody = 16 << 10
)

// ReadAhead implements fhir.Ahead. It is one round trip, or none when all is kept.
func (s *state) ReadAhead(ctx context.Context, terms [][]byte) error {
	a := newAhead(s, terms)
	b := &pgx.Batch{}
	a.queue(b)
	if b.Len() == 0 {
		return nil
	}

	err := s.read(ctx, b)
	if err == nil {
		a.keep(s)
	}
	return err
}

// Expect implements fhir.Ahead.
func (s *state) Expect(terms [][]byte, after uint64, n int) {
	s.expected = terms
	s.shown = shown{
		after: after,
		n:     n,
	}
}

// ahead is what is read before it is asked for.
type ahead struct {
	terms [][]byte // of which the resources are not known
	docs  []int64  // resources that are not known

	lists   [][]int64 // resources of each of terms
	entries []fhir.Entry
}

func newAhead(s *state, terms [][]byte) *ahead {
	a := &ahead{}
	for _, term := range terms {
		key := rangeOf(term).key()
		if _, ok := s.ahead[key]; ok {
			continue
		}

		kept := s.store.cache.list(s.base, key)
		if kept == nil {
			a.terms = append(a.terms, term)
			continue
		}
		for _, row := range kept.rows[:min(aheadDocs, len(kept.rows))] {
			if _, ok := s.known(row.doc); !ok {
				a.docs = append(a.docs, int64(row.doc))
			}
		}
	}
	return a
}

// queue queues what reads the lists of the terms, and with them the first resources of
// each.
func (a *ahead) queue(b *pgx.Batch) {
	if len(a.terms) > 0 {
		queueRows(b, func(rows pgx.Rows) error {
			var docs []int64
			err := rows.Scan(&docs)
			a.lists = append(a.lists, docs)
			return err
		}, "select array(select doc from term where term = t order by doc limit $2) "+
			"from unnest($1::bytea[]) with ordinality as asked (t, i) order by i", a.terms, fewDocs)
	}
	if len(a.terms)+len(a.docs) == 0 {
		return
	}

	queueRows(b, func(rows pgx.Rows) error {
		e, err := scanEntry(rows)
		a.entries = append(a.entries, e)
		return err
	}, "select "+entryColumns+" from doc where doc = any(array("+
		"select d from unnest($1::bytea[]) as t, "+
		"lateral (select doc as d from term where term = t order by doc limit $3) as first) || $2) "+
		"and octet_length(body) <= $4", a.terms, a.docs, aheadDocs, aheadBody)
}

// keep keeps what was read.
func (a *ahead) keep(s *state) {
	for _, e := range a.entries {
		s.keep(e)
	}

	if s.ahead == nil {
		s.ahead = map[string][]indexRow{}
	}
	for i, docs := range a.lists {
		h := &head{indexRange: rangeOf(a.terms[i])}
		h.add(rowsOf(bytes.Clone(a.terms[i]), docs))
		all := len(docs) < fewDocs
		h.keep(s, all)
		if all {
			s.ahead[h.key()] = h.rows
		}
	}
}
