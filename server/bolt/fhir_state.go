package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/search"
)

// state is one transaction seen as fhir.Snapshot and fhir.Change.
type state struct {
	tx     *bbolt.Tx
	health *health
	tables [tables]table

	logs  map[string]*table // of log, those that were needed
	keys  []indexChange     // of the index, to be done in order: see settle
	arena []byte            // their keys
	audit auditLog          // the audit records
	wrote bool              // something was changed since the last call of changed
}

var (
	_ fhir.Change = (*state)(nil)
	_ fhir.Store  = (*FHIR)(nil)
)

func (s *FHIR) newState(tx *bbolt.Tx) *state {
	st := &state{tx: tx, health: s.health}
	st.audit.state = st
	return st
}

func (s *state) changed() bool {
	changed := s.wrote
	s.wrote = false
	return changed
}

func (s *state) committed() {}

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
	if typ == "AuditEvent" {
		doc, ok := fhir.RecordDoc(id)
		if !ok {
			return 0, false, nil
		}

		rec, err := s.audit.record(doc)
		if err == nil && rec == nil {
			err = s.neverGiven(doc)
		}
		return doc, rec != nil, err
	}

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

// neverGiven returns an error for a number that was given to a resource or
// record, and leads to neither.
func (s *state) neverGiven(doc uint64) error {
	docs := s.in(docsTable)
	if doc == 0 || doc > docs.Sequence() || docs.Get(number(doc)) != nil {
		return nil
	}
	return s.in(recordsTable).damaged(number(doc), "is not there, though the number was given")
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

func (s *state) Find(ctx context.Context, typ, id string) (uint64, bool, error) {
	doc, ok, err := s.Lookup(ctx, typ, id)
	if err != nil || !ok || typ == "AuditEvent" {
		return doc, ok, err
	}

	e, ok, err := s.current(doc)
	if err == nil && !ok {
		err = s.in(docsTable).damaged(number(doc), "is not there, though ids names it")
	}
	return doc, ok && !e.Deleted, err
}

// current reads a resource's current version; ok is false when "docs" has no
// such number, as for the number of a record.
func (s *state) current(doc uint64) (e fhir.Entry, ok bool, err error) {
	rd := s.reader()
	return rd.current(doc)
}

// docReader reads current versions, one after another.
type docReader struct {
	docs   *table
	cursor *bbolt.Cursor
	key    [8]byte
}

func (s *state) reader() docReader {
	docs := s.in(docsTable)
	return docReader{
		docs:   docs,
		cursor: docs.Cursor(),
	}
}

func (rd *docReader) current(doc uint64) (e fhir.Entry, ok bool, err error) {
	key := rd.key[:]
	binary.BigEndian.PutUint64(key, doc)
	k, v := rd.cursor.Seek(key)
	if !bytes.Equal(k, key) {
		return fhir.Entry{}, false, nil
	}

	v, err = rd.docs.unseal(key, v)
	if err != nil {
		return fhir.Entry{}, false, err
	}
	if e, ok = decodeEntry(doc, v); !ok {
		return fhir.Entry{}, false, rd.docs.damaged(key, "is no version of a resource")
	}

	return e, true, nil
}

func (s *state) Entry(_ context.Context, doc uint64) (fhir.Entry, bool, error) {
	if e, ok, err := s.current(doc); ok || err != nil {
		return e, ok, err
	}

	rec, err := s.audit.record(doc)
	if err == nil && rec == nil {
		err = s.neverGiven(doc)
	}
	if rec == nil || err != nil {
		return fhir.Entry{}, false, err
	}

	return rec.Entry(doc), true, nil
}

// must reads what another row names.
func (s *state) must(ctx context.Context, doc uint64) (fhir.Entry, error) {
	e, ok, err := s.Entry(ctx, doc)
	if err == nil && !ok {
		err = s.in(docsTable).damaged(number(doc), "is not there, though another row names it")
	}
	return e, err
}

func (s *state) Entries(ctx context.Context, docs []uint64, f func(fhir.Entry) bool) error {
	rd := s.reader()
	for _, doc := range docs {
		e, ok, err := rd.current(doc)
		if err == nil && !ok {
			e, err = s.must(ctx, doc)
		}
		if err != nil {
			return err
		}
		if !f(e) {
			break
		}
	}

	return nil
}

func (s *state) Identity(ctx context.Context, doc uint64) (typ, id string, err error) {
	e, err := s.must(ctx, doc)
	return e.Type, e.ID, err
}

func (s *state) Body(ctx context.Context, doc uint64) ([]byte, error) {
	e, err := s.must(ctx, doc)
	return e.Body, err
}

func (s *state) Terms(_ context.Context, docs []uint64, f func(uint64, string, search.Terms) bool) error {
	rd := s.reader()
	for _, doc := range docs {
		e, ok, err := rd.current(doc)
		id, terms := e.ID, e.Terms
		if err == nil && !ok {
			id, terms, err = s.terms(doc)
		}
		if err != nil {
			return err
		}
		if !f(doc, id, terms) {
			break
		}
	}

	return nil
}

func (s *state) terms(doc uint64) (string, search.Terms, error) {
	if e, ok, err := s.current(doc); ok || err != nil {
		return e.ID, e.Terms, err
	}

	rec, err := s.audit.record(doc)
	if err == nil && rec == nil {
		err = s.in(docsTable).damaged(number(doc), "is not there, though another row names it")
	}
	if err != nil {
		return "", nil, err
	}

	id := fhir.RecordID(doc)
	return id, rec.Terms(id), nil
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
		return fhir.Entry{}, false, s.in(versionsTable).damaged(key, "is no version of a resource")
	}

	return e, true, nil
}

func (s *state) Each(ctx context.Context, after uint64, f func(doc uint64) bool) error {
	t := s.in(docsTable)
	c := t.Cursor()
	for k, v := c.Seek(number(after + 1)); k != nil; k, v = c.Next() {
		if !t.sound(k, v) || len(k) != 8 {
			return t.unsound(k)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if !f(binary.BigEndian.Uint64(k)) {
			break
		}
	}

	return nil
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
func (s *state) Put(ctx context.Context, e fhir.Entry) (uint64, error) {
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
		old, err := s.must(ctx, e.Doc)
		if err != nil {
			return 0, err
		}

		before = append(search.Terms{}, old.Terms...)
		if err := s.in(versionsTable).put(binary.BigEndian.AppendUint64(number(e.Doc), old.Version),
			encodeEntry(history(old))); err != nil {
			return 0, err
		}
	}

	if len(before) == 0 {
		s.addTerms(e)
	} else {
		s.reindex(e.Doc, before, e.Terms)
	}

	return e.Doc, errors.Join(s.in(docsTable).put(number(e.Doc), encodeEntry(e)), s.logChange(e))
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
		n, _ := binary.Uvarint(v)
		last = max(last, binary.BigEndian.Uint64(k)+n-1)
	}
	if n := docs.Sequence(); n != last {
		return docs.damaged(nil, fmt.Sprintf("has counted to %d, and its last number is %d", n, last))
	}

	heads, err := s.heads("", 0)
	if err != nil {
		return nil // whoever reads that log will meet it
	}

	last = 0
	if h := newest(heads); h != nil {
		last = h.seq
	}
	if n := logs.Sequence(); n != last {
		return logs.damaged(nil, fmt.Sprintf("has counted to %d, and its last number is %d", n, last))
	}

	return nil
}
