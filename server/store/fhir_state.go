package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"slices"

	"go.etcd.io/bbolt"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/search"
)

// state is one transaction seen as fhir.Snapshot and fhir.Change.
type state struct {
	tx                                                  *bbolt.Tx
	docs, ids, versions, index, segments, log, settings *bbolt.Bucket

	logs     map[string]*bbolt.Bucket // of log, those that were needed
	keys     []indexChange            // of the index, to be done in order: see settle
	records  []indexChange            // of resources that never change: see putSegment
	recorded int                      // how many such resources
	arena    []byte                   // where their keys stand
	wrote    bool                     // something was changed since the job began
	err      error                    // of settle, when it was a Scan that needed it
}

// indexChange is a key that comes or goes.
type indexChange struct {
	key []byte
	n   int // in the order in which the changes came
	del bool
}

var (
	_ fhir.Change = (*state)(nil)
	_ fhir.Store  = (*FHIR)(nil)
)

func newState(tx *bbolt.Tx) *state {
	return &state{
		tx: tx, logs: map[string]*bbolt.Bucket{}, segments: tx.Bucket([]byte("segments")),
		docs: tx.Bucket([]byte("docs")), ids: tx.Bucket([]byte("ids")),
		versions: tx.Bucket([]byte("versions")), index: tx.Bucket([]byte("index")),
		log: tx.Bucket([]byte("log")), settings: tx.Bucket([]byte("settings")),
	}
}

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(make([]byte, 0, 16), n) }

// idKey joins type and id by NUL, which neither may hold.
func idKey(typ, id string) []byte {
	k := make([]byte, 0, len(typ)+1+len(id))
	k = append(append(k, typ...), 0)
	return append(k, id...)
}

func (s *state) Lookup(typ, id string) (uint64, bool) {
	v := s.ids.Get(idKey(typ, id))
	if len(v) != 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(v), true
}

func (s *state) Find(typ, id string) (uint64, bool) {
	doc, ok := s.Lookup(typ, id)
	if !ok {
		return 0, false
	}
	v := s.docs.Get(number(doc))
	return doc, len(v) > 0 && v[0]&flagDeleted == 0
}

func (s *state) Entry(doc uint64) (fhir.Entry, bool) {
	return decodeEntry(doc, s.docs.Get(number(doc)))
}

func (s *state) Identity(doc uint64) (typ, id string) {
	e, _ := s.Entry(doc)
	return e.Type, e.ID
}

func (s *state) Terms(doc uint64) (string, search.Terms) {
	e, _ := s.Entry(doc)
	return e.ID, e.Terms
}

func (s *state) Version(doc, version uint64) (fhir.Entry, bool) {
	if e, ok := s.Entry(doc); ok && e.Version == version {
		return e, true
	}
	return decodeEntry(doc, s.versions.Get(binary.BigEndian.AppendUint64(number(doc), version)))
}

func (s *state) Scan(from, to []byte, f func(term []byte, doc uint64) bool) {
	s.settle()
	c := s.index.Cursor()
	for k, _ := c.Seek(from); k != nil && bytes.Compare(k, to) < 0; k, _ = c.Next() {
		n := len(k) - 9
		if n < 2 {
			continue
		}
		if !f(k[:n], binary.BigEndian.Uint64(k[n+1:])) {
			return
		}
	}
	s.scanSegments(from, to, f)
}

func (s *state) Each(f func(doc uint64) bool) {
	c := s.docs.Cursor()
	for k, _ := c.First(); k != nil && f(binary.BigEndian.Uint64(k)); k, _ = c.Next() {
	}
}

func (s *state) Setting(name string) []byte { return s.settings.Get([]byte(name)) }

func (s *state) SetSetting(name string, value []byte) error {
	s.wrote = true
	return s.settings.Put([]byte(name), value)
}

// Changes implements fhir.Snapshot by stepping back through the logs of all
// types asked for together.
func (s *state) Changes(typ string, before uint64, f func(seq, doc, version uint64) bool) {
	var heads []*head
	if typ != "" {
		heads = s.heads(heads, []byte(typ), before)
	} else {
		c := s.log.Cursor()
		for k, _ := c.First(); k != nil; k, _ = c.Next() {
			heads = s.heads(heads, k, before)
		}
	}
	for {
		h := newest(heads)
		if h == nil || !f(h.seq, h.doc, h.version) {
			return
		}
		h.set(h.cursor.Prev())
	}
}

// head is the next change of one type's log, going back.
type head struct {
	cursor            *bbolt.Cursor
	seq, doc, version uint64 // seq 0: no more
}

func (s *state) heads(heads []*head, typ []byte, before uint64) []*head {
	b := s.log.Bucket(typ)
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
	return append(heads, h)
}

func (h *head) set(k, v []byte) {
	h.seq = 0
	if len(k) == 8 && len(v) == 16 {
		h.seq = binary.BigEndian.Uint64(k)
		h.doc, h.version = binary.BigEndian.Uint64(v), binary.BigEndian.Uint64(v[8:])
	}
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

// Put implements fhir.Change.
func (s *state) Put(e fhir.Entry) (uint64, error) {
	s.wrote = true
	var before search.Terms
	if e.Doc == 0 {
		n, err := s.docs.NextSequence()
		if err != nil {
			return 0, err
		}
		e.Doc = n
		if err := s.ids.Put(idKey(e.Type, e.ID), number(n)); err != nil {
			return 0, err
		}
	} else if old, ok := s.Entry(e.Doc); ok {
		before = append(search.Terms(nil), old.Terms...)
		if err := s.versions.Put(binary.BigEndian.AppendUint64(number(e.Doc), old.Version), encodeEntry(history(old))); err != nil {
			return 0, err
		}
	}
	if before == nil {
		s.addTerms(e)
	} else {
		s.reindex(e.Doc, before, e.Terms)
	}
	return e.Doc, errors.Join(s.docs.Put(number(e.Doc), encodeEntry(e)), s.logChange(e))
}

func history(e fhir.Entry) fhir.Entry {
	e.Terms = nil
	return e
}

func (s *state) logChange(e fhir.Entry) error {
	b := s.logs[e.Type]
	if b == nil {
		var err error
		if b, err = s.log.CreateBucketIfNotExists([]byte(e.Type)); err != nil {
			return err
		}
		b.FillPercent = 0.9 // keys come in sequence
		s.logs[e.Type] = b
	}
	seq, err := s.log.NextSequence()
	if err != nil {
		return err
	}
	return b.Put(number(seq), binary.BigEndian.AppendUint64(number(e.Doc), e.Version))
}

// reindex turns one set of terms into another. Both are in order.
func (s *state) reindex(doc uint64, before, after search.Terms) {
	old := list(before)
	after.Each(func(term []byte) bool {
		for len(old) > 0 && bytes.Compare(old[0], term) < 0 {
			s.changeIndex(old[0], doc, true)
			old = old[1:]
		}
		if len(old) > 0 && bytes.Equal(old[0], term) {
			old = old[1:]
			return true
		}
		s.changeIndex(term, doc, false)
		return true
	})
	for _, term := range old {
		s.changeIndex(term, doc, true)
	}
}

func (s *state) changeIndex(term []byte, doc uint64, del bool) {
	s.keys = append(s.keys, indexChange{s.indexKey(term, doc), len(s.keys), del})
}

func (s *state) indexKey(term []byte, doc uint64) []byte {
	if need := len(term) + 9; cap(s.arena)-len(s.arena) < need {
		s.arena = make([]byte, 0, max(need, 64<<10))
	}
	at := len(s.arena)
	s.arena = append(append(s.arena, term...), 0)
	s.arena = binary.BigEndian.AppendUint64(s.arena, doc)
	return s.arena[at:len(s.arena):len(s.arena)]
}

// settle does the changes of the index in the order of their keys. Bolt splits
// its pages at the end of a transaction only, so that keys in any other order
// would each move half of a page that has grown large.
func (s *state) settle() error {
	if s.recorded < segmentLeast {
		s.keys = append(s.keys, s.records...)
	} else {
		inOrder(s.records)
		s.err = errors.Join(s.err, s.putSegment(s.records))
	}
	s.records, s.recorded = nil, 0
	inOrder(s.keys)
	for _, c := range s.keys {
		if c.del {
			s.err = errors.Join(s.err, s.index.Delete(c.key))
		} else {
			s.err = errors.Join(s.err, s.index.Put(c.key, nil))
		}
	}
	s.keys = s.keys[:0]
	return s.err
}

// inOrder sorts keys. Those of one parameter mostly come in order already: that
// is seen, and costs little, when each parameter is sorted by itself.
func inOrder(keys []indexChange) {
	byParam := map[[2]byte][]indexChange{}
	for _, k := range keys {
		p := [2]byte(k.key)
		byParam[p] = append(byParam[p], k)
	}
	params := slices.SortedFunc(maps.Keys(byParam), func(a, b [2]byte) int { return bytes.Compare(a[:], b[:]) })
	keys = keys[:0]
	for _, p := range params {
		of := byParam[p]
		slices.SortFunc(of, func(a, b indexChange) int {
			if c := bytes.Compare(a.key, b.key); c != 0 {
				return c
			}
			return a.n - b.n
		})
		keys = append(keys, of...)
	}
}

func list(t search.Terms) [][]byte {
	var all [][]byte
	t.Each(func(term []byte) bool {
		all = append(all, term)
		return true
	})
	return all
}
