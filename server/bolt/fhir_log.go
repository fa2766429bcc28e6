package bolt

import (
	"context"
	"encoding/binary"
	"errors"

	"go.etcd.io/bbolt"

	"fhirdest.example/fhir"
)

// Changes implements fhir.Snapshot by stepping back through the logs of all
// types asked for together.
func (s *state) Changes(
	ctx context.Context, typ string, before uint64, f func(seq, doc, version uint64) bool,
) error {
	var heads []*head
	if typ != "" {
		heads = s.heads(heads, []byte(typ), before)
	} else {
		c := s.log().Cursor()
		for k, _ := c.First(); k != nil; k, _ = c.Next() {
			heads = s.heads(heads, k, before)
		}
	}

	for {
		h := newest(heads)
		if h == nil {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if !f(h.seq, h.doc, h.version) {
			return nil
		}
		h.next()
	}
}

// head is the next change of one type's log, going back.
type head struct {
	cursor            *bbolt.Cursor
	seq, doc, version uint64 // seq 0: no more
	more              uint64 // earlier ones in the same row
}

func (s *state) heads(heads []*head, typ []byte, before uint64) []*head {
	b := s.log().Bucket(typ)
	if b == nil {
		return heads
	}

	h := &head{cursor: b.Cursor()}
	if before == 0 {
		h.set(h.cursor.Last())
	} else if k, _ := h.cursor.Seek(number(before)); k == nil {
		h.set(h.cursor.Last())
	} else {
		h.set(h.cursor.Prev())
	}

	for before > 0 && h.seq >= before {
		h.next()
	}
	return append(heads, h)
}

// set goes to the last change of a row of the log: one, or that of a block of
// records.
func (h *head) set(k, v []byte) {
	h.seq, h.more = 0, 0
	if len(k) == 8 && len(v) >= 16 {
		h.seq = binary.BigEndian.Uint64(k)
		h.doc, h.version = binary.BigEndian.Uint64(v), binary.BigEndian.Uint64(v[8:])
	}
	if h.seq > 0 && len(v) == 24 {
		h.more = binary.BigEndian.Uint64(v[16:]) - 1
		h.seq, h.doc = h.seq+h.more, h.doc+h.more
	}
}

// next goes back by one change.
func (h *head) next() {
	if h.more == 0 {
		h.set(h.cursor.Prev())
		return
	}
	h.more, h.seq, h.doc = h.more-1, h.seq-1, h.doc-1
}

func newest(heads []*head) *head {
	var best *head
	for _, h := range heads {
		if h.seq > 0 && (best == nil || h.seq > best.seq) {
			best = h
		}
	}
	return best
}

func (s *state) logChange(e fhir.Entry) error {
	b, err := s.logOf(e.Type)
	if err != nil {
		return err
	}
	seq, err := s.log().NextSequence()
	if err != nil {
		return err
	}
	return b.Put(number(seq), binary.BigEndian.AppendUint64(number(e.Doc), e.Version))
}

// logRecords logs the first versions of that many records in one row.
func (s *state) logRecords(first, n uint64) error {
	b, err := s.logOf("AuditEvent")
	if err != nil {
		return err
	}
	seq := s.log().Sequence() + 1
	row := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(number(first), 1), n)
	return errors.Join(s.log().SetSequence(seq+n-1), b.Put(number(seq), row))
}

func (s *state) logOf(typ string) (*bbolt.Bucket, error) {
	b := s.logs[typ]
	if b == nil {
		var err error
		if b, err = s.log().CreateBucketIfNotExists([]byte(typ)); err != nil {
			return nil, err
		}

		b.FillPercent = 0.9 // keys come in sequence
		if s.logs == nil {
			s.logs = map[string]*bbolt.Bucket{}
		}
		s.logs[typ] = b
	}

	return b, nil
}
