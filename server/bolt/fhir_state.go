package bolt

import (
	"context"
	"encoding/binary"
	"errors"

	"go.etcd.io/bbolt"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/search"
)

// state is one transaction seen as fhir.Snapshot and fhir.Change.
type state struct {
	tx     *bbolt.Tx
	health *health
	opened struct{ docs, ids, versions, index, segments, records, log, settings *bbolt.Bucket }

	logs  map[string]*bbolt.Bucket // of log, those that were needed
	keys  []indexChange            // of the index, to be done in order: see settle
	arena []byte                   // where their keys stand
	fresh []fhir.PackedRecord      // to be stored with the commit
	wrote bool                     // something was changed since the last call of changed
}

var (
	_ fhir.Change = (*state)(nil)
	_ fhir.Store  = (*FHIR)(nil)
)

func (s *FHIR) newState(tx *bbolt.Tx) *state { return &state{tx: tx, health: s.health} }

func (s *state) changed() bool {
	changed := s.wrote
	s.wrote = false
	return changed
}

func (s *state) committed() {}

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

// damaged is the error for a row of this file.
func (s *state) damaged(bucket string, key []byte, problem string) error {
	return s.health.found(&Damaged{
		File:    s.tx.DB().Path(),
		Bucket:  bucket,
		Key:     printable(key),
		Problem: problem,
	})
}

func (s *state) Lookup(_ context.Context, typ, id string) (uint64, bool, error) {
	if typ == "AuditEvent" {
		doc, ok := fhir.RecordDoc(id)
		if !ok {
			return 0, false, nil
		}
		rec, err := s.record(doc)
		return doc, rec != nil, err
	}

	key := idKey(typ, id)
	v := s.ids().Get(key)
	if v == nil {
		return 0, false, nil
	}
	if len(v) != 8 {
		return 0, false, s.damaged("ids", key, "is no number of a resource")
	}
	return binary.BigEndian.Uint64(v), true, nil
}

func (s *state) Find(ctx context.Context, typ, id string) (uint64, bool, error) {
	doc, ok, err := s.Lookup(ctx, typ, id)
	if err != nil || !ok || typ == "AuditEvent" {
		return doc, ok, err
	}
	e, ok, err := s.current(doc)
	if err == nil && !ok {
		err = s.damaged("docs", number(doc), "is not there, though ids names it")
	}
	return doc, ok && !e.Deleted, err
}

// current reads a resource's current version; ok is false when "docs" has no
// such number, as for the number of a record.
func (s *state) current(doc uint64) (e fhir.Entry, ok bool, err error) {
	key := number(doc)
	v := s.docs().Get(key)
	if v == nil {
		return fhir.Entry{}, false, nil
	}
	if e, ok = decodeEntry(doc, v); !ok {
		return fhir.Entry{}, false, s.damaged("docs", key, "is no version of a resource")
	}
	return e, true, nil
}

func (s *state) Entry(_ context.Context, doc uint64) (fhir.Entry, bool, error) {
	if e, ok, err := s.current(doc); ok || err != nil {
		return e, ok, err
	}
	rec, err := s.record(doc)
	if rec == nil || err != nil {
		return fhir.Entry{}, false, err
	}
	return rec.Entry(doc), true, nil
}

// must reads what another row names.
func (s *state) must(ctx context.Context, doc uint64) (fhir.Entry, error) {
	e, ok, err := s.Entry(ctx, doc)
	if err == nil && !ok {
		err = s.damaged("docs", number(doc), "is not there, though the index names it")
	}
	return e, err
}

func (s *state) Entries(ctx context.Context, docs []uint64, f func(fhir.Entry) bool) error {
	for _, doc := range docs {
		e, err := s.must(ctx, doc)
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
	for _, doc := range docs {
		id, terms, err := s.terms(doc)
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
	rec, err := s.record(doc)
	if err == nil && rec == nil {
		err = s.damaged("docs", number(doc), "is not there, though the index names it")
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
	v := s.versions().Get(key)
	if v == nil && (version == 0 || version > e.Version) {
		return fhir.Entry{}, false, nil
	}
	if e, ok = decodeEntry(doc, v); !ok || e.Version != version {
		return fhir.Entry{}, false, s.damaged("versions", key, "is no version of a resource")
	}
	return e, true, nil
}

func (s *state) Each(ctx context.Context, after uint64, f func(doc uint64) bool) error {
	c := s.docs().Cursor()
	for k, _ := c.Seek(number(after + 1)); k != nil; k, _ = c.Next() {
		if len(k) != 8 {
			return s.damaged("docs", k, "is no number of a resource")
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
	return s.settings().Get([]byte(name)), nil
}

func (s *state) SetSetting(_ context.Context, name string, value []byte) error {
	s.wrote = true
	return s.settings().Put([]byte(name), value)
}

// Put implements fhir.Change.
func (s *state) Put(ctx context.Context, e fhir.Entry) (uint64, error) {
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
	} else {
		old, err := s.must(ctx, e.Doc)
		if err != nil {
			return 0, err
		}
		before = append(search.Terms{}, old.Terms...)
		if err := s.versions().Put(binary.BigEndian.AppendUint64(number(e.Doc), old.Version),
			encodeEntry(history(old))); err != nil {
			return 0, err
		}
	}

	if len(before) == 0 {
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
	if err := s.settleIndex(); err != nil {
		return err
	}
	return s.settleRecords()
}
