package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"sort"

	"go.etcd.io/bbolt"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/search"
)

// The records of reads come many at a time and never change. Their index keys
// do not go into the tree one by one, which would touch a page for each, but
// as one segment for each commit: the keys in order, each without what it
// shares with the one before, in blocks that can be searched.

// Small segments are merged into larger ones, so that a search has few to look
// through: sixteen of a tier make one of the next.
const (
	segmentBlock = 32   // keys between two that stand in full
	segmentLeast = 4    // resources for which a segment is worth its while
	tierFan      = 16   // segments of a tier that are merged
	topTier      = 2    // its segments stay as they are
	tierSize     = 8192 // keys from which on a segment begins a tier higher
)

// unchanging are types whose resources get one version only.
var unchanging = map[string]bool{"AuditEvent": true}

// rangeKey names the setting that holds the parameters (first and last) that
// segments have keys of.
var rangeKey = []byte("segment-range")

// encodeSegment writes keys that are in order.
func encodeSegment(keys []indexChange) []byte {
	var b []byte
	var blocks []uint32
	var last []byte
	for i, k := range keys {
		shared := 0
		if i%segmentBlock == 0 {
			blocks = append(blocks, uint32(len(b)))
		} else {
			shared = common(last, k.key)
		}
		b = binary.AppendUvarint(b, uint64(shared))
		b = binary.AppendUvarint(b, uint64(len(k.key)-shared))
		b = append(b, k.key[shared:]...)
		last = k.key
	}
	end := uint32(len(b))
	for _, at := range blocks {
		b = binary.BigEndian.AppendUint32(b, at)
	}
	return binary.BigEndian.AppendUint32(b, end)
}

func common(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// segment is an encoded segment, opened.
type segment struct{ keys, blocks []byte }

func openSegment(b []byte) (segment, bool) {
	if len(b) < 4 {
		return segment{}, false
	}
	end := binary.BigEndian.Uint32(b[len(b)-4:])
	if int(end) > len(b)-4 {
		return segment{}, false
	}
	return segment{b[:end], b[end : len(b)-4]}, true
}

// at gives where a block begins.
func (g segment) at(block int) int { return int(binary.BigEndian.Uint32(g.blocks[4*block:])) }

// next reads the key at a place, given the one before; ok is false at the end.
func (g segment) next(at int, last []byte) (key []byte, after int, ok bool) {
	shared, n := binary.Uvarint(g.keys[at:])
	if n <= 0 || int(shared) > len(last) {
		return nil, 0, false
	}
	at += n
	own, n := binary.Uvarint(g.keys[at:])
	if n <= 0 || uint64(len(g.keys)-at-n) < own {
		return nil, 0, false
	}
	at += n
	return append(last[:shared], g.keys[at:at+int(own)]...), at + int(own), true
}

// scan calls f with the keys between from and to, in order; the result tells
// whether f wants more.
func (g segment) scan(from, to []byte, f func(term []byte, doc uint64) bool) bool {
	n := len(g.blocks) / 4
	first := sort.Search(n, func(i int) bool {
		key, _, ok := g.next(g.at(i), nil)
		return !ok || bytes.Compare(key, from) > 0
	})
	var key []byte
	ok := true
	for at := g.at(max(first-1, 0)); at < len(g.keys); {
		if key, at, ok = g.next(at, key); !ok || bytes.Compare(key, to) >= 0 {
			return true
		}
		if n := len(key) - 9; n >= 2 && bytes.Compare(key, from) >= 0 && !f(key[:n], binary.BigEndian.Uint64(key[n+1:])) {
			return false
		}
	}
	return true
}

// putSegment stores keys that are in order.
func (s *state) putSegment(keys []indexChange) error {
	low, high := keys[0].key[:2], keys[len(keys)-1].key[:2]
	if r := s.settings.Get(rangeKey); len(r) == 4 {
		low, high = lesser(low, r[:2]), greater(high, r[2:])
	}
	tier := byte(0)
	for n := len(keys); n > tierSize && tier < topTier; n /= tierFan {
		tier++
	}
	return errors.Join(s.putTier(tier, encodeSegment(keys)),
		s.settings.Put(rangeKey, append(append([]byte(nil), low...), high...)))
}

// putTier stores a segment; a tier that is full becomes a segment of the next.
// Each tier has a bucket: Bolt writes a page's neighbours again with every
// change, and large ones must not stand beside small ones.
func (s *state) putTier(tier byte, encoded []byte) error {
	b, err := s.segments.CreateBucketIfNotExists([]byte{tier})
	if err != nil {
		return err
	}
	b.FillPercent = 0.9
	seq, err := b.NextSequence()
	if err != nil {
		return err
	}
	if err := b.Put(number(seq), encoded); err != nil || tier == topTier {
		return err
	}
	merged, full := readTier(b)
	if !full {
		return nil
	}
	if err := s.segments.DeleteBucket([]byte{tier}); err != nil {
		return err
	}
	inOrder(merged)
	return s.putTier(tier+1, encodeSegment(merged))
}

// readTier gives the keys in a tier's segments when it is full.
func readTier(b *bbolt.Bucket) (keys []indexChange, full bool) {
	var all []segment
	c := b.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if g, ok := openSegment(v); ok {
			all = append(all, g)
		}
	}
	if len(all) < tierFan {
		return nil, false
	}
	for _, g := range all {
		var key []byte
		for at, ok := 0, true; at < len(g.keys); {
			if key, at, ok = g.next(at, key); !ok {
				break
			}
			keys = append(keys, indexChange{key: bytes.Clone(key)})
		}
	}
	return keys, true
}

func lesser(a, b []byte) []byte {
	if bytes.Compare(a, b) < 0 {
		return a
	}
	return b
}

func greater(a, b []byte) []byte {
	if bytes.Compare(a, b) > 0 {
		return a
	}
	return b
}

// scanSegments looks through all segments, if any may hold such keys.
func (s *state) scanSegments(from, to []byte, f func(term []byte, doc uint64) bool) {
	r := s.settings.Get(rangeKey)
	if len(r) != 4 || bytes.Compare(to, r[:2]) <= 0 || bytes.Compare(from[:min(2, len(from))], r[2:]) > 0 {
		return
	}
	for tier := byte(0); tier <= topTier; tier++ {
		b := s.segments.Bucket([]byte{tier})
		if b == nil {
			continue
		}
		c := b.Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			if g, ok := openSegment(v); ok && !g.scan(from, to, f) {
				return
			}
		}
	}
}

// DropIndex implements fhir.Change.
func (s *state) DropIndex() error {
	s.wrote = true
	s.keys, s.records, s.recorded = nil, nil, 0
	for _, name := range []string{"index", "segments"} {
		if err := s.tx.DeleteBucket([]byte(name)); err != nil {
			return err
		}
		if _, err := s.tx.CreateBucket([]byte(name)); err != nil {
			return err
		}
	}
	if err := s.settings.Delete(rangeKey); err != nil {
		return err
	}
	s.index, s.segments = s.tx.Bucket([]byte("index")), s.tx.Bucket([]byte("segments"))
	return nil
}

// Reindex implements fhir.Change.
func (s *state) Reindex(doc uint64, t search.Terms) error {
	e, ok := s.Entry(doc)
	if !ok {
		return nil
	}
	s.wrote = true
	e.Terms = t
	s.addTerms(e)
	return s.docs.Put(number(doc), encodeEntry(e))
}

// addTerms indexes a resource that has nothing in the index yet.
func (s *state) addTerms(e fhir.Entry) {
	if unchanging[e.Type] {
		s.recorded++
	}
	e.Terms.Each(func(term []byte) bool {
		c := indexChange{key: s.indexKey(term, e.Doc), n: len(s.keys)}
		if unchanging[e.Type] {
			s.records = append(s.records, c)
		} else {
			s.keys = append(s.keys, c)
		}
		return true
	})
}
