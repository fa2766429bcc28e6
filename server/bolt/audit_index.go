package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/trail"
	"fhirdest.example/server/packed"
)

// tail is what of the records is not indexed: all after a number.
type tail struct{ after, n uint64 }

// allRecords is a number above those of all records.
const allRecords = math.MaxUint64

func (s *auditLog) tail() (tail, error) {
	v, err := s.in(settingsTable).get(tailKey)
	if v == nil {
		return tail{}, err
	}
	if len(v) != 16 {
		return tail{}, s.in(settingsTable).damaged(tailKey, "is no place in the records")
	}
	return tail{binary.BigEndian.Uint64(v), binary.BigEndian.Uint64(v[8:])}, nil
}

func (s *auditLog) putTail(t tail) error {
	return s.in(settingsTable).put(
		tailKey,
		binary.BigEndian.AppendUint64(number(t.after), t.n),
	)
}

// lengthenTail notes that n records were added, and indexes the tail when it is long.
func (s *auditLog) lengthenTail(n uint64) error {
	t, err := s.tail()
	if err != nil {
		return err
	}

	before := t.n
	t.n += n
	if t.n/tailRecords == before/tailRecords {
		return s.putTail(t)
	}

	// A damaged record is a matter of those who search for records. What is
	// stored here must not fail for it: the tail then stays as it is.
	err = s.indexTail(t, allRecords)
	if errors.Is(err, fhir.ErrDamaged) {
		return s.putTail(t)
	}
	return err
}

// eachTail calls f with the number of every record of the tail and the record, which x
// unpacks, in rows that begin with a number up to to, until it returns false.
func (s *auditLog) eachTail(
	ctx context.Context,
	t tail,
	to uint64,
	x *trail.Indexer,
	f func(doc uint64, rec *trail.Record) bool,
) error {
	records := s.in(recordsTable)
	c := records.Cursor()
	for k, v := c.Seek(number(t.after + 1)); k != nil && keyNumber(k) <= to; k, v = c.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}

		b, err := s.block(k, v)
		if err != nil {
			return err
		}
		for i, l := range b.Links {
			rec, err := x.Unpack(l.Packed)
			if err != nil {
				return records.damaged(k, noBlock)
			}
			if !f(b.First+uint64(i), rec) {
				return nil
			}
		}
	}

	return nil
}

// Scan implements fhir.AuditReader: it looks through segments and tail.
func (s *auditLog) Scan(
	ctx context.Context, from, to []byte, f func(term []byte, doc uint64) bool,
) error {
	expired, err := s.expired()
	if err != nil {
		return err
	}
	kept := func(term []byte, doc uint64) bool {
		return doc <= expired || f(term, doc) // a segment may also have records that are gone
	}

	segments := s.in(segmentsTable)
	c := segments.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}

		g, ok := packed.OpenSegment(segments.sum(k, nil), v)
		more := false
		if ok {
			more, ok = g.Scan(from, to, kept)
		}
		if !ok {
			return segments.damaged(
				k,
				"is no index of records, or does not have its checksum",
			)
		}
		if !more {
			return nil
		}
	}

	return s.scanTail(ctx, from, to, f)
}

func (s *auditLog) scanTail(
	ctx context.Context, from, to []byte, f func(term []byte, doc uint64) bool,
) error {
	t, err := s.tail()
	if err != nil {
		return err
	}

	var key []byte
	x := trail.NewIndexer()
	return s.eachTail(ctx, t, allRecords, x, func(doc uint64, rec *trail.Record) bool {
		more := true
		x.Terms(rec, trail.ID(doc)).Each(func(term []byte) bool {
			key = appendIndexKey(key[:0], term, doc)
			if bytes.Compare(key, to) >= 0 {
				return false // terms are in order
			}

			more = bytes.Compare(key, from) < 0 || f(term, doc)
			return more
		})

		return more
	})
}

// indexTail indexes the records of the tail, in rows that begin with a number up to
// to, or writes nothing.
func (s *auditLog) indexTail(t tail, to uint64) error {
	var parts []*tailPart
	var last uint64
	x := trail.NewIndexer()
	add := func(doc uint64, rec *trail.Record) bool {
		if len(parts) == 0 || parts[len(parts)-1].n == segmentMost {
			parts = append(parts, newTailPart(doc))
		}

		parts[len(parts)-1].add(doc, rec, x)
		last = doc
		return true
	}
	if err := s.eachTail(context.Background(), t, to, x, add); err != nil {
		return err
	}

	for _, p := range parts {
		if err := s.putSegment(p); err != nil {
			return err
		}
	}

	return s.putTail(tail{after: last})
}

// tailPart is the index of the records of one segment, from the first on.
type tailPart struct {
	first   uint64
	n       int // of records
	terms   []tailTerm
	numbers map[string]int          // places of terms
	shared  map[*trail.Shared][]int // places of the terms of groups
	pairs   []termOf                // in the order of records
}

// tailTerm is a term, and the records that have it.
type tailTerm struct {
	text    string
	records int
	last    uint64 // its last record
}

// termOf is that a record has a term.
type termOf struct {
	doc  uint64
	term int
}

func newTailPart(first uint64) *tailPart {
	return &tailPart{
		first:   first,
		numbers: map[string]int{},
		shared:  map[*trail.Shared][]int{},
	}
}

func (p *tailPart) add(doc uint64, rec *trail.Record, x *trail.Indexer) {
	p.n++
	shared := func(group *trail.Shared) {
		for _, i := range p.group(group) {
			p.pair(doc, i)
		}
	}
	own := func(term []byte) {
		p.pair(doc, p.number(term))
	}
	x.Parts(rec, trail.ID(doc), shared, own)
}

// group returns the places of the terms of a group.
func (p *tailPart) group(group *trail.Shared) []int {
	all, known := p.shared[group]
	if known {
		return all
	}

	for _, term := range group.Terms {
		all = append(all, p.number(term))
	}
	p.shared[group] = all
	return all
}

// number returns the place of a term.
func (p *tailPart) number(term []byte) int {
	i, known := p.numbers[string(term)]
	if !known {
		i = len(p.terms)
		text := string(term)
		p.numbers[text] = i
		p.terms = append(p.terms, tailTerm{text: text})
	}
	return i
}

// pair adds that the last record has a term, once.
func (p *tailPart) pair(doc uint64, term int) {
	t := &p.terms[term]
	if t.last == doc {
		return
	}

	t.last = doc
	t.records++
	p.pairs = append(p.pairs, termOf{
		doc:  doc,
		term: term,
	})
}

// each calls f with the terms in order, and the records that have each.
func (p *tailPart) each(f func(term string, docs []uint64) bool) {
	ordered := make([]int, len(p.terms))
	for i := range ordered {
		ordered[i] = i
	}
	slices.SortFunc(ordered, func(a, b int) int {
		return strings.Compare(p.terms[a].text, p.terms[b].text)
	})

	ends := make([]int, len(p.terms)) // where the records of a term end
	n := 0
	for _, i := range ordered {
		ends[i] = n
		n += p.terms[i].records
	}

	docs := make([]uint64, n)
	for _, pair := range p.pairs {
		docs[ends[pair.term]] = pair.doc
		ends[pair.term]++
	}

	for _, i := range ordered {
		t := &p.terms[i]
		if !f(t.text, docs[ends[i]-t.records:ends[i]]) {
			return
		}
	}
}

func (s *auditLog) putSegment(p *tailPart) error {
	segments := s.in(segmentsTable)
	segments.FillPercent = 0.9
	return segments.Put(
		number(p.first),
		packed.EncodeSegment(segments.sum(number(p.first), nil), p.each),
	)
}
