package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strings"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/search"
)

// Records come many in a commit, are small and never change. "records" has
// them in blocks: under the number of its first, the parts that records share,
// then the others' parts. The latest ones, the tail, are not indexed: a search
// reads them. When there are enough, one segment indexes them all.
const (
	blockRecords = 128
	tailRecords  = 2048 // a tail so long gets a segment
	segmentMost  = 2 * tailRecords
)

// tailKey names the setting that has the place where the tail begins.
var tailKey = []byte("record-tail")

// tail is what of the records is not indexed: all after a number.
type tail struct{ after, n uint64 }

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

// auditLog are the audit records of a state.
type auditLog struct {
	*state
	fresh []packedRecord // to be stored with the commit
}

// Append implements fhir.AuditStore.
func (s *auditLog) Append(_ context.Context, records []fhir.Record) error {
	s.wrote = true
	for i := range records {
		s.fresh = append(s.fresh, pack(&records[i]))
	}
	return nil
}

// settle stores what Append was given.
func (s *auditLog) settle() error {
	if len(s.fresh) == 0 {
		return nil
	}

	t, err := s.tail()
	if err != nil {
		return err
	}

	before := t.n
	t.n += uint64(len(s.fresh))
	for block := range slices.Chunk(s.fresh, blockRecords) {
		if err := s.putBlock(block); err != nil {
			return err
		}
	}

	s.fresh = nil
	if t.n/tailRecords == before/tailRecords {
		return s.putTail(t)
	}

	// A damaged record is a matter of those who search for records. What is
	// stored here must not fail for it: the tail then stays as it is.
	err = s.indexTail(t)
	if errors.Is(err, fhir.ErrDamaged) {
		return s.putTail(t)
	}
	return err
}

func (s *auditLog) putBlock(block []packedRecord) error {
	n := uint64(len(block))
	docs, records := s.in(docsTable), s.in(recordsTable)
	first := docs.Sequence() + 1
	records.FillPercent = 0.9 // keys come in sequence
	return errors.Join(docs.SetSequence(first+n-1), records.put(number(first), encodeBlock(block)),
		s.logRecords(first, n))
}

// encodeBlock writes how many records and shared parts there are, the shared
// parts, then each record's own part after the index of its shared one.
func encodeBlock(block []packedRecord) []byte {
	index := map[string]int{}
	var shared, own []byte
	for _, p := range block {
		i, ok := index[string(p.Shared)]
		if !ok {
			i = len(index)
			index[string(p.Shared)] = i
			shared = appendPart(shared, p.Shared)
		}

		own = appendPart(binary.AppendUvarint(own, uint64(i)), p.Own)
	}

	b := make([]byte, 0, 16+len(shared)+len(own)+checksum)
	b = binary.AppendUvarint(b, uint64(len(block)))
	b = binary.AppendUvarint(b, uint64(len(index)))
	return append(append(b, shared...), own...)
}

func appendPart(b, part []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(part))), part...)
}

// errBlock is a block that encodeBlock did not write.
var errBlock = errors.New("is no block of records")

// eachRecord calls f with the records of a block until it returns false.
func eachRecord(b []byte, f func(packedRecord) bool) error {
	n, k := binary.Uvarint(b)
	b = b[max(k, 0):]
	parts, k2 := binary.Uvarint(b)
	b = b[max(k2, 0):]
	if k <= 0 || k2 <= 0 || parts > n {
		return errBlock
	}

	var shared [][]byte
	for range parts {
		part, rest, ok := cutPart(b)
		if !ok {
			return errBlock
		}
		shared, b = append(shared, part), rest
	}

	for range n {
		i, k := binary.Uvarint(b)
		if k <= 0 || i >= uint64(len(shared)) {
			return errBlock
		}

		own, rest, ok := cutPart(b[k:])
		if !ok {
			return errBlock
		}
		if !f(packedRecord{
			Shared: shared[i],
			Own:    own,
		}) {
			return nil
		}

		b = rest
	}

	if len(b) > 0 {
		return errBlock
	}
	return nil
}

// Record implements fhir.AuditReader.
func (s *auditLog) Record(_ context.Context, doc uint64) (*fhir.Record, bool, error) {
	rec, err := s.record(doc)
	if err == nil && rec == nil {
		err = s.neverGiven(doc)
	}
	return rec, rec != nil, err
}

// neverGiven returns an error for a number that was given to a resource or
// record, and leads to neither.
func (s *auditLog) neverGiven(doc uint64) error {
	docs := s.in(docsTable)
	if doc == 0 || doc > docs.Sequence() || docs.Get(number(doc)) != nil {
		return nil
	}
	return s.in(recordsTable).damaged(
		number(doc),
		"is not there, though the number was given",
	)
}

// Records implements fhir.AuditReader.
func (s *auditLog) Records(
	_ context.Context, docs []uint64, f func(doc uint64, rec *fhir.Record) bool,
) (int, error) {
	for n, doc := range docs {
		rec, err := s.record(doc)
		if rec == nil || err != nil {
			return n, err
		}
		if !f(doc, rec) {
			return n + 1, nil
		}
	}

	return len(docs), nil
}

// record finds a record by its number; nil when there is none.
func (s *auditLog) record(doc uint64) (*fhir.Record, error) {
	t := s.in(recordsTable)
	c := t.Cursor()
	k, v := c.Seek(number(doc))
	if k == nil {
		k, v = c.Last()
	} else if !bytes.Equal(k, number(doc)) {
		k, v = c.Prev()
	}

	if k == nil {
		return nil, nil
	}

	v, err := t.unseal(k, v)
	if err != nil {
		return nil, err
	}

	skip := doc - binary.BigEndian.Uint64(k)
	var rec *fhir.Record
	bad := false
	err = eachRecord(v, func(p packedRecord) bool {
		if skip > 0 {
			skip--
			return true
		}

		var ok bool
		rec, ok = p.unpack()
		bad = !ok
		return false
	})
	if err != nil || bad {
		return nil, t.damaged(k, errBlock.Error())
	}

	return rec, nil
}

// eachTail calls f with the number and terms of every record of the tail until
// it returns false.
func (s *auditLog) eachTail(
	ctx context.Context, t tail, f func(doc uint64, terms search.Terms) bool,
) error {
	records := s.in(recordsTable)
	c := records.Cursor()
	for k, v := c.Seek(number(t.after + 1)); k != nil; k, v = c.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}

		v, err := records.unseal(k, v)
		if err != nil {
			return err
		}

		doc, more, bad := binary.BigEndian.Uint64(k), true, false
		err = eachRecord(v, func(p packedRecord) bool {
			rec, ok := p.unpack()
			if bad = !ok; bad {
				return false
			}

			more = f(doc, rec.Terms(fhir.RecordID(doc)))
			doc++
			return more
		})

		if err != nil || bad {
			return records.damaged(k, errBlock.Error())
		}
		if !more {
			break
		}
	}

	return nil
}

// Scan implements fhir.AuditReader: it looks through segments and tail.
func (s *auditLog) Scan(
	ctx context.Context, from, to []byte, f func(term []byte, doc uint64) bool,
) error {
	segments := s.in(segmentsTable)
	c := segments.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}

		g, ok := openSegment(segments.sum(k, nil), v)
		more := false
		if ok {
			more, ok = g.scan(from, to, f)
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
	return s.eachTail(ctx, t, func(doc uint64, terms search.Terms) bool {
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

// posting lists the records that have a term, in order.
type posting struct {
	term string
	docs []uint64
}

// indexTail indexes all records of the tail, or writes nothing.
func (s *auditLog) indexTail(t tail) error {
	var parts []*tailPart
	var last uint64
	err := s.eachTail(context.Background(), t, func(doc uint64, terms search.Terms) bool {
		if len(parts) == 0 || parts[len(parts)-1].n == segmentMost {
			parts = append(parts, &tailPart{
				first: doc,
				index: map[string]*posting{},
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
		if err := s.putSegment(p.first, p.index); err != nil {
			return err
		}
	}

	return s.putTail(tail{after: last})
}

// tailPart is the index of the records of one segment, from the first on.
type tailPart struct {
	first uint64
	n     int
	index map[string]*posting
}

func (p *tailPart) add(doc uint64, terms search.Terms) {
	p.n++
	terms.Each(func(term []byte) bool {
		of := p.index[string(term)]
		if of == nil {
			of = &posting{term: string(term)}
			p.index[of.term] = of
		}
		of.docs = append(of.docs, doc)

		return true
	})
}

func (s *auditLog) putSegment(first uint64, index map[string]*posting) error {
	all := make([]*posting, 0, len(index))
	n := 0
	for _, p := range index {
		all = append(all, p)
		n += len(p.docs)
	}

	slices.SortFunc(all, func(a, b *posting) int {
		return strings.Compare(a.term, b.term)
	})
	keys := make([][]byte, 0, n)

	for _, p := range all {
		for _, doc := range p.docs {
			keys = append(keys, s.indexKey([]byte(p.term), doc))
		}
	}

	segments := s.in(segmentsTable)
	segments.FillPercent = 0.9
	return segments.Put(
		number(first),
		encodeSegment(segments.sum(number(first), nil), keys),
	)
}
