package bolt

import (
	"context"
	"encoding/binary"
	"errors"

	"go.etcd.io/bbolt"

	"fhirdest.example/fhir"
)

// Changes implements fhir.Resources by stepping back through the logs of all
// types asked for together.
func (s *state) Changes(
	ctx context.Context, typ string, before uint64, f func(seq, doc, version uint64) bool,
) error {
	heads, err := s.heads(typ, before)
	if err != nil {
		return err
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
		if err := h.next(); err != nil {
			return err
		}
	}
}

// lastChange is the number of the last change of a type in a committed state.
type lastChange struct {
	commit int // the number of its transaction, which no other committed state has
	typ    string
	number uint64
}

// LastChange implements fhir.Dated. Requests between two commits see the same state,
// and the number is looked up once in it.
func (s *state) LastChange(_ context.Context, typ string) (number uint64, log any) {
	if s.tx.Writable() {
		return readLastChange(s, typ), nil
	}

	commit := s.tx.ID()
	if last := s.last.Load(); last != nil && last.commit == commit && last.typ == typ {
		return last.number, nil
	}

	number = readLastChange(s, typ)
	s.last.Store(&lastChange{
		commit: commit,
		typ:    typ,
		number: number,
	})

	return number, nil
}

// readLastChange reads the last change in the log of a type. A log that is damaged is a
// matter of those who read it.
func readLastChange(s *state, typ string) uint64 {
	logs := s.in(logTable)
	b := logs.Bucket.Bucket([]byte(typ))
	if b == nil {
		return 0
	}

	h := head{
		cursor: b.Cursor(),
		log:    table{logs.within([]byte(typ)), b, s},
	}
	if err := h.seek(0); err != nil {
		return 0
	}

	return h.seq
}

// head is the next change of one type's log, going back.
type head struct {
	cursor            *bbolt.Cursor
	log               table
	seq, doc, version uint64 // seq 0: no more
	more              uint64 // earlier ones in the same row
}

// heads goes to the last change before a number in the log of typ, or in all.
func (s *state) heads(typ string, before uint64) (heads []*head, err error) {
	logs := s.in(logTable)
	add := func(name []byte) error {
		b := logs.Bucket.Bucket(name)
		if b == nil {
			return s.misnamedLog()
		}

		h := &head{
			cursor: b.Cursor(),
			log:    table{logs.within(name), b, s},
		}
		heads = append(heads, h)

		return h.seek(before)
	}

	if typ != "" {
		err = add([]byte(typ))
	} else {
		err = logs.ForEachBucket(add)
	}

	return heads, err
}

// misnamedLog looks for a log whose rows are not of the type that it is named
// after: that of a type that seems to have none.
func (s *state) misnamedLog() error {
	logs := s.in(logTable)
	return logs.ForEachBucket(func(name []byte) error {
		k, v := logs.Bucket.Bucket(name).Cursor().First()
		if !logs.within(name).sound(k, v) {
			return logs.damaged(name, "has rows of another type")
		}
		return nil
	})
}

func (h *head) seek(before uint64) error {
	k, v := h.cursor.Last()
	if before > 0 {
		if at, sealed := h.cursor.Seek(number(before)); !h.log.sound(at, sealed) {
			return h.log.unsound(at)
		} else if at != nil {
			k, v = h.cursor.Prev()
		} else {
			k, v = h.cursor.Last()
		}
	}

	err := h.set(k, v)
	for err == nil && before > 0 && h.seq >= before {
		err = h.next()
	}

	return err
}

// set goes to the last change of a row of the log: one, or that of a block of
// records.
func (h *head) set(k, sealed []byte) error {
	h.seq = 0
	h.more = 0
	if k == nil {
		return nil
	}

	v, err := h.log.unseal(k, sealed)
	if err != nil {
		return err
	}
	if len(k) != 8 || len(v) != 16 && len(v) != 24 {
		return h.log.damaged(k, "is no change")
	}

	h.seq = binary.BigEndian.Uint64(k)
	h.doc, h.version = binary.BigEndian.Uint64(v), binary.BigEndian.Uint64(v[8:])
	if len(v) == 24 {
		h.more = binary.BigEndian.Uint64(v[16:]) - 1
		h.seq, h.doc = h.seq+h.more, h.doc+h.more
	}

	return nil
}

// next goes back by one change.
func (h *head) next() error {
	if h.more == 0 {
		return h.set(h.cursor.Prev())
	}
	h.more, h.seq, h.doc = h.more-1, h.seq-1, h.doc-1
	return nil
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
	t, err := s.logOf(e.Type)
	if err != nil {
		return err
	}

	seq, err := s.in(logTable).NextSequence()
	if err != nil {
		return err
	}
	return t.put(number(seq), binary.BigEndian.AppendUint64(number(e.Doc), e.Version))
}

// logRecords logs the first versions of that many records in one row.
func (s *auditLog) logRecords(first, n uint64) error {
	t, err := s.logOf("AuditEvent")
	if err != nil {
		return err
	}

	logs := s.in(logTable)
	seq := logs.Sequence() + 1
	row := binary.BigEndian.AppendUint64(
		binary.BigEndian.AppendUint64(number(first), 1),
		n,
	)
	return errors.Join(logs.SetSequence(seq+n-1), t.put(number(seq), row))
}

// logOf returns the log of a type, to write to.
func (s *state) logOf(typ string) (*table, error) {
	t := s.logs[typ]
	if t == nil {
		logs := s.in(logTable)
		b, err := logs.CreateBucketIfNotExists([]byte(typ))
		if err != nil {
			return nil, err
		}

		b.FillPercent = 0.9 // keys come in sequence
		t = &table{logs.within([]byte(typ)), b, s}
		if s.logs == nil {
			s.logs = map[string]*table{}
		}
		s.logs[typ] = t
	}

	return t, nil
}
