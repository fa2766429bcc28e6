package bolt

import (
	"encoding/binary"
	"errors"

	"go.etcd.io/bbolt"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/search"
)

// state is one transaction seen as fhir.Snapshot and fhir.Change.
type state struct {
	tx     *bbolt.Tx
	opened struct{ docs, ids, versions, index, segments, records, log, settings *bbolt.Bucket }

	logs  map[string]*bbolt.Bucket // of log, those that were needed
	keys  []indexChange            // of the index, to be done in order: see settle
	arena []byte                   // where their keys stand
	fresh []fhir.PackedRecord      // to be stored with the commit
	wrote bool                     // something was changed since the job began
	err   error                    // of settle, when it was a Scan that needed it
}

var (
	_ fhir.Change = (*state)(nil)
	_ fhir.Store  = (*FHIR)(nil)
)

func newState(tx *bbolt.Tx) *state { return &state{tx: tx} }

// open opens a bucket when it is first needed: most requests need two of them.
func (s *state) open(b **bbolt.Bucket, name string) *bbolt.Bucket {
	if *b == nil {
		*b = s.tx.Bucket([]byte(name))
	}
	return *b
}

func (s *state) docs() *bbolt.Bucket     { return s.open(&s.opened.docs, "docs") }
func (s *state) ids() *bbolt.Bucket      { return s.open(&s.opened.ids, "ids") }
func (s *state) versions() *bbolt.Bucket { return s.open(&s.opened.versions, "versions") }
func (s *state) index() *bbolt.Bucket    { return s.open(&s.opened.index, "index") }
func (s *state) segments() *bbolt.Bucket { return s.open(&s.opened.segments, "segments") }
func (s *state) records() *bbolt.Bucket  { return s.open(&s.opened.records, "records") }
func (s *state) log() *bbolt.Bucket      { return s.open(&s.opened.log, "log") }
func (s *state) settings() *bbolt.Bucket { return s.open(&s.opened.settings, "settings") }

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(make([]byte, 0, 16), n) }

// idKey joins type and id by NUL, which neither may hold.
func idKey(typ, id string) []byte {
	k := make([]byte, 0, len(typ)+1+len(id))
	k = append(append(k, typ...), 0)
	return append(k, id...)
}

func (s *state) Lookup(typ, id string) (uint64, bool) {
	if typ == "AuditEvent" {
		doc, ok := fhir.RecordDoc(id)
		if ok {
			_, ok = s.record(doc)
		}
		return doc, ok
	}

	v := s.ids().Get(idKey(typ, id))
	if len(v) != 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(v), true
}

func (s *state) Find(typ, id string) (uint64, bool) {
	doc, ok := s.Lookup(typ, id)
	if !ok || typ == "AuditEvent" {
		return doc, ok
	}
	v := s.docs().Get(number(doc))
	return doc, len(v) > 0 && v[0]&flagDeleted == 0
}

func (s *state) Entry(doc uint64) (fhir.Entry, bool) {
	if v := s.docs().Get(number(doc)); v != nil {
		return decodeEntry(doc, v)
	}
	rec, ok := s.record(doc)
	if !ok {
		return fhir.Entry{}, false
	}
	return rec.Entry(doc), true
}

func (s *state) Identity(doc uint64) (typ, id string) {
	e, _ := s.Entry(doc)
	return e.Type, e.ID
}

func (s *state) Body(doc uint64) []byte {
	e, _ := s.Entry(doc)
	return e.Body
}

func (s *state) Terms(doc uint64) (string, search.Terms) {
	if v := s.docs().Get(number(doc)); v != nil {
		e, _ := decodeEntry(doc, v)
		return e.ID, e.Terms
	}
	rec, ok := s.record(doc)
	if !ok {
		return "", nil
	}
	id := fhir.RecordID(doc)
	return id, rec.Terms(id)
}

func (s *state) Version(doc, version uint64) (fhir.Entry, bool) {
	if e, ok := s.Entry(doc); ok && e.Version == version {
		return e, true
	}
	return decodeEntry(doc, s.versions().Get(binary.BigEndian.AppendUint64(number(doc), version)))
}

func (s *state) Each(f func(doc uint64) bool) {
	c := s.docs().Cursor()
	for k, _ := c.First(); k != nil && f(binary.BigEndian.Uint64(k)); k, _ = c.Next() {
	}
}

func (s *state) Setting(name string) []byte { return s.settings().Get([]byte(name)) }

func (s *state) SetSetting(name string, value []byte) error {
	s.wrote = true
	return s.settings().Put([]byte(name), value)
}

// Put implements fhir.Change.
func (s *state) Put(e fhir.Entry) (uint64, error) {
	s.wrote = true
	var before search.Terms
	if e.Doc == 0 {
		n, err := s.docs().NextSequence()
		if err != nil {
			return 0, err
		}

		e.Doc = n
		if err := s.ids().Put(idKey(e.Type, e.ID), number(n)); err != nil {
			return 0, err
		}
	} else if old, ok := s.Entry(e.Doc); ok {
		before = append(search.Terms(nil), old.Terms...)
		if err := s.versions().Put(binary.BigEndian.AppendUint64(number(e.Doc), old.Version),
			encodeEntry(history(old))); err != nil {
			return 0, err
		}
	}

	if before == nil {
		s.addTerms(e)
	} else {
		s.reindex(e.Doc, before, e.Terms)
	}

	return e.Doc, errors.Join(s.docs().Put(number(e.Doc), encodeEntry(e)), s.logChange(e))
}

func history(e fhir.Entry) fhir.Entry {
	e.Terms = nil
	return e
}

// settle does what was put off to the end of the transaction.
func (s *state) settle() error {
	s.settleIndex()
	return errors.Join(s.err, s.settleRecords())
}
