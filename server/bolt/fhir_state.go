package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"go.etcd.io/bbolt"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/search"
	"fhirdest.example/server/packed"
)

// state is one transaction seen as fhir.Resources and fhir.ResourceStore.
type state struct {
	tx     *bbolt.Tx
	health *health
	last   *atomic.Pointer[lastChange] // of the file
	tables [tables]table

	logs  map[string]*table       // of log, those that were needed
	keys  map[param][]indexChange // of the index, to be done in order: see settle
	arena []byte                  // their keys
	audit auditLog                // the audit records
	wrote bool                    // something was changed since the last call of Changed

	recent *[maxRecent]fhir.Entry // by number modulo maxRecent; nil: none yet, or a state that is being changed
}

// maxRecent is how many resources are kept of those whose terms were asked for: what a
// search finds is shown next.
const maxRecent = 64

var (
	_ fhir.ResourceStore = (*state)(nil)
	_ fhir.Store         = (*FHIR)(nil)
)

func (s *FHIR) newState(tx *bbolt.Tx) *state {
	st := &state{
		tx:     tx,
		health: s.health,
		last:   &s.changed,
	}
	st.audit.state = st
	return st
}

// Changed implements shared.Batch.
func (s *state) Changed() bool {
	changed := s.wrote
	s.wrote = false
	return changed
}

func (s *state) committed() {}

func (s *state) transaction() *bbolt.Tx { return s.tx }

func number(n uint64) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 0, 16), n)
}

// idKey joins type and id by NUL, which neither may hold.
func idKey(typ, id string) []byte {
	k := make([]byte, 0, len(typ)+1+len(id))
	k = append(append(k, typ...), 0)
	return append(k, id...)
}

func (s *state) Lookup(_ context.Context, typ, id string) (uint64, bool, error) {
	key := idKey(typ, id)
	ids := s.in(idsTable)
	v, err := ids.get(key)
	if v == nil && err == nil {
		if bad := ids.stray(ids.Bucket, key, s.isIdentity); bad != nil {
			err = ids.unsound(bad)
		}
	}

	if v == nil {
		return 0, false, err
	}
	if len(v) != 8 {
		return 0, false, ids.damaged(key, "is no number of a resource")
	}

	return binary.BigEndian.Uint64(v), true, nil
}

// isIdentity reports whether a key of "ids" is that of a resource in "docs".
func (s *state) isIdentity(key []byte) bool {
	return s.health.genuine(key, func() bool {
		c := s.in(docsTable).Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			if v, ok := s.in(docsTable).open(k, v); ok {
				e, _ := decodeEntry(0, v)
				if bytes.Equal(idKey(e.Type, e.ID), key) {
					return true
				}
			}
		}

		return false
	})
}

// current reads a resource's current version; ok is false when "docs" has no
// such number, as for the number of a record.
func (s *state) current(doc uint64) (e fhir.Entry, ok bool, err error) {
	rd := newDocReader(s)
	return rd.current(doc)
}

// docReader reads current versions, one after another.
type docReader struct {
	state  *state
	docs   *table
	cursor *bbolt.Cursor
	key    [8]byte
	last   uint64 // the row at which the cursor is; 0: none
}

func newDocReader(s *state) docReader {
	docs := s.in(docsTable)
	return docReader{
		state:  s,
		docs:   docs,
		cursor: docs.Cursor(),
	}
}

func (rd *docReader) current(doc uint64) (e fhir.Entry, ok bool, err error) {
	if recent := rd.state.recent; recent != nil && recent[doc%maxRecent].Doc == doc && doc > 0 {
		return recent[doc%maxRecent], true, nil
	}

	key := rd.key[:]
	binary.BigEndian.PutUint64(key, doc)
	v, ok := rd.ahead(key, doc)
	if !ok {
		var k []byte
		k, v = rd.cursor.Seek(key)
		if !bytes.Equal(k, key) {
			rd.last = 0
			return fhir.Entry{}, false, nil
		}
	}

	rd.last = doc
	e, err = rd.docs.entry(key, v)
	return e, err == nil, err
}

// maxAhead is how many rows further a row is found faster by going there.
const maxAhead = 8

// ahead finds a row that is not far behind the last one. In a state that is being
// changed, a cursor does not keep its place.
func (rd *docReader) ahead(key []byte, doc uint64) ([]byte, bool) {
	if rd.last == 0 || rd.docs.Writable() || doc <= rd.last || doc-rd.last > maxAhead {
		return nil, false
	}

	for range doc - rd.last {
		k, v := rd.cursor.Next()
		switch bytes.Compare(k, key) {
		case 0:
			return v, true
		case 1:
			return nil, false
		}
		if k == nil {
			break
		}
	}
	return nil, false
}

func (s *state) Entry(_ context.Context, doc uint64) (fhir.Entry, bool, error) {
	return s.current(doc)
}

// must reads the current version of a resource that another row names.
func (s *state) must(doc uint64) (fhir.Entry, error) {
	e, ok, err := s.current(doc)
	if err == nil && !ok {
		err = s.Lost(doc)
	}
	return e, err
}

// Lost implements fhir.Resources.
func (s *state) Lost(doc uint64) error {
	return s.in(docsTable).damaged(
		number(doc),
		"is not there, though another row names it",
	)
}

func (s *state) Entries(
	_ context.Context, docs []uint64, f func(fhir.Entry) bool,
) (int, error) {
	rd := newDocReader(s)
	for n, doc := range docs {
		e, ok, err := rd.current(doc)
		if !ok || err != nil {
			return n, err
		}
		if !f(e) {
			return n + 1, nil
		}
	}

	return len(docs), nil
}

func (s *state) Terms(
	ctx context.Context, docs []uint64, f func(doc uint64, id string, t search.Terms) bool,
) (int, error) {
	if s.recent == nil && !s.tx.Writable() {
		s.recent = new([maxRecent]fhir.Entry)
	}

	return s.Entries(ctx, docs, func(e fhir.Entry) bool {
		if s.recent != nil {
			s.recent[e.Doc%maxRecent] = e
		}
		return f(e.Doc, e.ID, e.Terms)
	})
}

func (s *state) Version(ctx context.Context, doc, version uint64) (fhir.Entry, bool, error) {
	e, ok, err := s.Entry(ctx, doc)
	if err != nil || !ok || e.Version == version {
		return e, ok, err
	}

	key := binary.BigEndian.AppendUint64(number(doc), version)
	v, err := s.in(versionsTable).get(key)
	if err != nil || v == nil && (version == 0 || version > e.Version) {
		return fhir.Entry{}, false, err
	}
	if e, ok = decodeEntry(doc, v); !ok || e.Version != version {
		return fhir.Entry{}, false, s.in(versionsTable).damaged(
			key,
			"is no version of a resource",
		)
	}

	return e, true, nil
}

func (s *state) Each(ctx context.Context, after uint64, f func(fhir.Entry) bool) error {
	docs := s.in(docsTable)
	c := docs.Cursor()
	for k, v := c.Seek(number(after + 1)); k != nil; k, v = c.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}

		e, err := docs.entry(k, v)
		if err != nil {
			return err
		}
		if !f(e) {
			break
		}
	}

	return nil
}

// entry reads a row of "docs".
func (t *table) entry(key, sealed []byte) (fhir.Entry, error) {
	v, err := t.unseal(key, sealed)
	if err != nil {
		return fhir.Entry{}, err
	}
	if len(key) != 8 {
		return fhir.Entry{}, t.damaged(key, "is no number of a resource")
	}

	e, ok := decodeEntry(binary.BigEndian.Uint64(key), v)
	if !ok {
		return fhir.Entry{}, t.damaged(key, "is no version of a resource")
	}
	return e, nil
}

func (s *state) Setting(_ context.Context, name string) ([]byte, error) {
	settings := s.in(settingsTable)
	v, err := settings.get([]byte(name))
	if v == nil && err == nil {
		if bad := settings.stray(settings.Bucket, []byte(name), never); bad != nil {
			err = settings.unsound(bad)
		}
	}
	return v, err
}

func (s *state) SetSetting(_ context.Context, name string, value []byte) error {
	s.wrote = true
	if value == nil {
		return s.in(settingsTable).Delete([]byte(name))
	}
	return s.in(settingsTable).put([]byte(name), bytes.Clone(value))
}

// Put implements fhir.Change.
func (s *state) Put(_ context.Context, e fhir.Entry) (uint64, error) {
	s.wrote = true
	var before search.Terms
	if e.Doc == 0 {
		n, err := s.in(docsTable).NextSequence()
		if err != nil {
			return 0, err
		}

		e.Doc = n
		if err := s.in(idsTable).put(idKey(e.Type, e.ID), number(n)); err != nil {
			return 0, err
		}
	} else {
		old, err := s.must(e.Doc)
		if err != nil {
			return 0, err
		}

		before = append(search.Terms{}, old.Terms...)
		if err := s.in(versionsTable).put(binary.BigEndian.AppendUint64(number(e.Doc), old.Version),
			encodeEntry(history(old))); err != nil {
			return 0, err
		}
	}

	s.reindex(e.Doc, before, e.Terms)

	return e.Doc, errors.Join(
		s.in(docsTable).put(number(e.Doc), encodeEntry(e)),
		s.logChange(e),
	)
}

func history(e fhir.Entry) fhir.Entry {
	e.Terms = nil
	return e
}

// settle does what was put off to the end of the transaction.
func (s *state) settle() error {
	if err := s.settleIndex(); err != nil {
		return err
	}
	return s.audit.settle()
}

// checkNumbers compares the counters of the file with what was counted: a lower
// one would have a number given twice.
func (s *state) checkNumbers() error {
	docs, records, logs := s.in(docsTable), s.in(recordsTable), s.in(logTable)
	var last uint64
	if k, _ := docs.Cursor().Last(); len(k) == 8 {
		last = binary.BigEndian.Uint64(k)
	}
	if k, v := records.Cursor().Last(); len(k) == 8 {
		last = max(last, keyNumber(k)+packed.Records(v)-1)
	}
	if expired, err := s.audit.expired(); err == nil {
		last = max(last, expired)
	}
	if n := docs.Sequence(); n != last {
		return docs.damaged(
			nil,
			fmt.Sprintf("has counted to %d, and its last number is %d", n, last),
		)
	}

	heads, err := s.heads("", 0)
	if err != nil {
		return nil // whoever reads that log will meet it
	}

	last = 0
	if h := newest(heads); h != nil {
		last = h.seq
	}
	if v, err := s.in(settingsTable).get(forgottenKey); err == nil {
		last = max(last, keyNumber(v))
	}
	if n := logs.Sequence(); n != last {
		return logs.damaged(
			nil,
			fmt.Sprintf("has counted to %d, and its last number is %d", n, last),
		)
	}

	return nil
}
