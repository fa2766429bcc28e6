package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/trail"
	"fhirdest.example/server/packed"
)

// Records come many in a commit, are small and never change. "records" has them in
// blocks, each under the number of its first: see block. The latest ones, the tail,
// are not indexed: a search reads them. When there are enough, one segment indexes
// them all.
const (
	blockRecords = 128
	tailRecords  = 2048 // a tail so long gets a segment
	segmentMost  = 2 * tailRecords
)

// noBlock is the problem of a row of "records" that is not as Encode writes it.
const noBlock = "is no block of records"

// Names of settings.
var (
	tailKey   = []byte("record-tail")  // the place where the tail begins
	headKey   = []byte("audit-head")   // the place of the last record in the chain
	anchorKey = []byte("audit-anchor") // the place of the last record that Expire removed
	// forgottenKey has the number of the last change that Expire removed from the
	// log of changes.
	forgottenKey = []byte("audit-forgotten")
)

var _ fhir.AuditStore = (*auditLog)(nil)

// auditLog are the audit records of a state.
type auditLog struct {
	*state
	fresh []trail.Packed // to be stored with the commit
}

// Append implements fhir.AuditStore.
func (s *auditLog) Append(_ context.Context, records []trail.Record) error {
	s.wrote = true
	for i := range records {
		s.fresh = append(s.fresh, records[i].Pack())
	}
	return nil
}

// settle stores what Append was given.
func (s *auditLog) settle() error {
	if len(s.fresh) == 0 {
		return nil
	}

	head, err := s.place(headKey)
	if err != nil {
		return err
	}
	for some := range slices.Chunk(s.fresh, blockRecords) {
		if head, err = s.putBlock(head, some); err != nil {
			return err
		}
	}

	n := uint64(len(s.fresh))
	s.fresh = nil
	return errors.Join(s.putPlace(headKey, head), s.lengthenTail(n))
}

// putBlock stores records behind the head of the chain, and returns the new head.
func (s *auditLog) putBlock(head trail.Place, records []trail.Packed) (trail.Place, error) {
	docs, rows := s.in(docsTable), s.in(recordsTable)
	n := uint64(len(records))
	b := packed.Block{
		First:    docs.Sequence() + 1,
		Sequence: head.Sequence + 1,
	}
	for i, p := range records {
		b.Links = append(b.Links, packed.Link{
			Packed:   p,
			Previous: head.Hash,
		})
		head = head.Next(b.First+uint64(i), p)
	}

	rows.FillPercent = 0.9 // keys come in sequence
	return head, errors.Join(
		docs.SetSequence(b.First+n-1),
		rows.put(number(b.First), b.Encode()),
		s.logRecords(b.First, n),
	)
}

// place reads a place in the chain from the settings; the start when there is none.
func (s *auditLog) place(key []byte) (trail.Place, error) {
	settings := s.in(settingsTable)
	v, err := settings.get(key)
	if v == nil {
		return trail.Place{}, err
	}
	p, ok := decodePlace(v)
	if !ok {
		return trail.Place{}, settings.damaged(key, "is no place in the chain of records")
	}
	return p, nil
}

// placeLength is the length of a place: two numbers and a hash.
const placeLength = 16 + len(trail.Hash{})

func decodePlace(v []byte) (p trail.Place, ok bool) {
	if len(v) != placeLength {
		return p, false
	}
	return trail.Place{
		Sequence: binary.BigEndian.Uint64(v),
		Doc:      binary.BigEndian.Uint64(v[8:]),
		Hash:     trail.Hash(v[16:]),
	}, true
}

func appendPlace(b []byte, p trail.Place) []byte {
	b = binary.BigEndian.AppendUint64(b, p.Sequence)
	b = binary.BigEndian.AppendUint64(b, p.Doc)
	return append(b, p.Hash[:]...)
}

// putPlace stores a place; that before the first record is not stored.
func (s *auditLog) putPlace(key []byte, p trail.Place) error {
	if p.Sequence == 0 {
		return nil
	}
	return s.in(settingsTable).put(key, appendPlace(nil, p))
}

// Record implements fhir.AuditReader.
func (s *auditLog) Record(_ context.Context, doc uint64) (*trail.Record, bool, error) {
	rec, err := s.record(doc)
	if err == nil && rec == nil {
		err = s.neverGiven(doc)
	}
	return rec, rec != nil, err
}

// neverGiven returns an error for a number that was given to a resource or record,
// and leads to neither. Records that Expire removed may be gone.
func (s *auditLog) neverGiven(doc uint64) error {
	docs := s.in(docsTable)
	if doc == 0 || doc > docs.Sequence() || docs.Get(number(doc)) != nil {
		return nil
	}

	expired, err := s.expired()
	if err != nil || doc <= expired {
		return err
	}
	return s.in(recordsTable).damaged(
		number(doc),
		"is not there, though the number was given",
	)
}

// Records implements fhir.AuditReader.
func (s *auditLog) Records(
	_ context.Context, docs []uint64, f func(doc uint64, rec *trail.Record) bool,
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
func (s *auditLog) record(doc uint64) (*trail.Record, error) {
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

	b, err := s.block(k, v)
	if err != nil {
		return nil, err
	}
	i := doc - b.First
	if i >= uint64(len(b.Links)) {
		return nil, nil
	}
	rec, err := b.Links[i].Unpack()
	if err != nil {
		return nil, t.damaged(k, noBlock)
	}
	return rec, nil
}

// block decodes a row of "records" that a cursor met.
func (s *auditLog) block(k, sealed []byte) (*packed.Block, error) {
	t := s.in(recordsTable)
	v, err := t.unseal(k, sealed)
	if err != nil {
		return nil, err
	}
	b, ok := packed.Decode(k, v)
	if !ok {
		return nil, t.damaged(k, noBlock)
	}
	return b, nil
}
