package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"maps"
	"slices"

	"fhirdest.example/fhir/search"
)

// indexChange is a key that comes or goes.
type indexChange struct {
	key []byte
	n   int // in the order in which the changes of a parameter came
	del bool
}

// Scan implements fhir.Resources.
func (s *state) Scan(
	ctx context.Context, from, to []byte, f func(term []byte, doc uint64) bool,
) error {
	if err := s.settleRange(from, to); err != nil {
		return err
	}

	// A key whose bytes changed is where the true one would be: in the range,
	// at its end, or just before it.
	t := s.in(indexTable)
	c := t.Cursor()
	k, v := c.Seek(from)
	if k != nil {
		if before, sum := c.Prev(); !t.sound(before, sum) {
			return t.unsound(before)
		} else if before == nil {
			c.Seek(from)
		} else {
			c.Next()
		}
	} else if k, sum := c.Last(); !t.sound(k, sum) {
		return t.unsound(k)
	}

	for ; k != nil; k, v = c.Next() {
		n := len(k) - 9
		if !t.sound(k, v) || n < 2 {
			return t.unsound(k)
		}
		if bytes.Compare(k, to) >= 0 {
			break
		}
		if !f(k[:n], binary.BigEndian.Uint64(k[n+1:])) {
			return nil
		}
	}

	return nil
}

// Last implements search.Ordered.
func (s *state) Last(
	_ context.Context, from, to []byte,
) (term []byte, ordered bool, err error) {
	if err := s.settleRange(from, to); err != nil {
		return nil, true, err
	}

	// as in Scan, a key whose bytes changed is beside the range or in it
	t := s.in(indexTable)
	c := t.Cursor()
	k, v := c.Seek(to)
	if k != nil && !t.sound(k, v) {
		return nil, true, t.unsound(k)
	} else if k != nil {
		k, v = c.Prev()
	} else {
		k, v = c.Last()
	}

	n := len(k) - afterTerm
	switch {
	case k == nil:
		return nil, true, nil
	case !t.sound(k, v), n < 2:
		return nil, true, t.unsound(k)
	case bytes.Compare(k, from) < 0:
		return nil, true, nil
	}
	return k[:n], true, nil
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

// DropIndex implements fhir.Change.
func (s *state) DropIndex(context.Context) error {
	s.wrote = true
	s.keys = nil
	for _, name := range []string{"index", "segments"} {
		if err := s.tx.DeleteBucket([]byte(name)); err != nil {
			return err
		}
		if _, err := s.tx.CreateBucket([]byte(name)); err != nil {
			return err
		}
	}

	if err := s.audit.putTail(tail{}); err != nil {
		return err
	}

	s.tables[indexTable].Bucket, s.tables[segmentsTable].Bucket = nil, nil
	return nil
}

// Reindex implements fhir.Change.
func (s *state) Reindex(_ context.Context, doc uint64, t search.Terms) error {
	e, err := s.must(doc)
	if err != nil {
		return err
	}
	s.wrote = true
	e.Terms = t
	s.reindex(doc, nil, t) // it has nothing in the index yet
	return s.in(docsTable).put(number(doc), encodeEntry(e))
}

func (s *state) changeIndex(term []byte, doc uint64, del bool) {
	if s.keys == nil {
		s.keys = map[param][]indexChange{}
	}
	p := param(term)
	of := s.keys[p]
	s.keys[p] = append(of, indexChange{s.indexKey(term, doc), len(of), del})
}

// param is the number of a search parameter, which the keys of the index begin with.
type param [2]byte

// settleRange does the changes that a scan of a range of keys may meet. A state that is
// being changed is scanned for each resource that is stored, mostly for other
// parameters than those that were changed.
func (s *state) settleRange(from, to []byte) error {
	if len(s.keys) == 0 {
		return nil
	}
	if len(from) < 2 || len(to) < 2 {
		return s.settleIndex()
	}

	first, last := param(from), param(to)
	for p := range s.keys {
		if bytes.Compare(p[:], first[:]) < 0 || bytes.Compare(p[:], last[:]) > 0 {
			continue
		}
		if err := s.settleParam(p); err != nil {
			return err
		}
	}
	return nil
}

func (s *state) indexKey(term []byte, doc uint64) []byte {
	if need := len(term) + afterTerm; cap(s.arena)-len(s.arena) < need {
		s.arena = make([]byte, 0, max(need, 64<<10))
	}
	at := len(s.arena)
	s.arena = appendIndexKey(s.arena, term, doc)
	return s.arena[at:len(s.arena):len(s.arena)]
}

// afterTerm is how many bytes of an index key are behind its term.
const afterTerm = 9

func appendIndexKey[T string | []byte](b []byte, term T, doc uint64) []byte {
	return binary.BigEndian.AppendUint64(append(append(b, term...), 0), doc)
}

// settleIndex does the changes of the index in the order of their keys. Bolt
// splits its pages at the end of a transaction only, so that keys in any other
// order would each move half of a page that has grown large.
func (s *state) settleIndex() error {
	params := slices.SortedFunc(maps.Keys(s.keys), func(a, b param) int {
		return bytes.Compare(a[:], b[:])
	})
	for _, p := range params {
		if err := s.settleParam(p); err != nil {
			return err
		}
	}
	return nil
}

// settleParam does the changes of one parameter. Keys of one mostly come in order
// already: that is seen, and sorting them costs little.
func (s *state) settleParam(p param) error {
	keys := s.keys[p]
	slices.SortFunc(keys, func(a, b indexChange) int {
		if c := bytes.Compare(a.key, b.key); c != 0 {
			return c
		}
		return a.n - b.n
	})

	for _, c := range keys {
		var err error
		if c.del {
			err = s.in(indexTable).Delete(c.key)
		} else {
			err = s.in(indexTable).put(c.key, nil)
		}

		if err != nil {
			return err
		}
	}

	delete(s.keys, p)
	return nil
}

func list(t search.Terms) [][]byte {
	var all [][]byte
	t.Each(func(term []byte) bool {
		all = append(all, term)
		return true
	})
	return all
}
