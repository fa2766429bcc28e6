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
	"fhirdest.example/fhir/search"
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

// eachTail calls f with the number and terms of every record of the tail, in rows
// that begin with a number up to to, until it returns false.
func (s *auditLog) eachTail(
	ctx context.Context, t tail, to uint64, f func(doc uint64, terms search.Terms) bool,
) error {
	records := s.in(recordsTable)
	x := trail.NewIndexer()
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
			doc := b.First + uint64(i)
			if !f(doc, x.Terms(rec, trail.ID(doc))) {
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
	return s.eachTail(ctx, t, allRecords, func(doc uint64, terms search.Terms) bool {
		more := true
		terms.Each(func(term []byte) bool {
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
	err := s.eachTail(context.Background(), t, to, func(doc uint64, terms search.Terms) bool {
		if len(parts) == 0 || parts[len(parts)-1].n == segmentMost {
			parts = append(parts, &tailPart{
				first:   doc,
				numbers: map[string]int{},
			})
		}

		parts[len(parts)-1].add(doc, terms)
		last = doc
		return true
	})
	if err != nil {
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
	n       int            // of records
	numbers map[string]int // of terms, in the order in which they came
	terms   []string       // by number
	records []int          // that have a term, by its number
	pairs   []termOf       // in the order of records
	size    int            // of all keys, in bytes
}

// termOf is that a record has a term.
type termOf struct {
	doc  uint64
	term int
}

func (p *tailPart) add(doc uint64, terms search.Terms) {
	p.n++
	terms.Each(func(term []byte) bool {
		i, known := p.numbers[string(term)]
		if !known {
			i = len(p.terms)
			text := string(term)
			p.numbers[text] = i
			p.terms = append(p.terms, text)
			p.records = append(p.records, 0)
		}

		p.records[i]++
		p.pairs = append(p.pairs, termOf{
			doc:  doc,
			term: i,
		})
		p.size += len(term) + afterTerm

		return true
	})
}

// keys are the keys of the index, in order: by term, and then by record.
func (p *tailPart) keys() [][]byte {
	ordered := make([]int, len(p.terms))
	for i := range ordered {
		ordered[i] = i
	}
	slices.SortFunc(ordered, func(a, b int) int {
		return strings.Compare(p.terms[a], p.terms[b])
	})

	next := make([]int, len(p.terms)) // the place of a term's next key
	n := 0
	for _, i := range ordered {
		next[i] = n
		n += p.records[i]
	}

	keys := make([][]byte, n)
	room := make([]byte, 0, p.size)
	for _, pair := range p.pairs {
		from := len(room)
		room = appendIndexKey(room, p.terms[pair.term], pair.doc)
		keys[next[pair.term]] = room[from:len(room):len(room)]
		next[pair.term]++
	}

	return keys
}

func (s *auditLog) putSegment(p *tailPart) error {
	segments := s.in(segmentsTable)
	segments.FillPercent = 0.9
	return segments.Put(
		number(p.first),
		packed.EncodeSegment(segments.sum(number(p.first), nil), p.keys()),
	)
}
