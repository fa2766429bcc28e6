package packed

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"iter"
	"math/bits"
	"sort"
)

// Records never change. Their index keys do not go into the tree one by one,
// which would touch a page for each, but as one segment for many records: the
// keys in order, each without what it shares with the one before, in blocks
// that can be searched.

// castagnoli is the polynomial of the checksums.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const segmentBlock = 32 // keys between two that are written in full

// EncodeSegment writes the keys of terms that are in order, each with the numbers of
// its records in order. Behind them are, for each block, where it begins and its
// checksum, then where the last block ends and the checksum of this list; all
// checksums begin with that of the segment's place.
func EncodeSegment(place uint32, terms iter.Seq2[string, []uint64]) []byte {
	var w segmentWriter
	for term, docs := range terms {
		for i, doc := range docs {
			if i == 0 {
				w.begin(term, doc)
			} else {
				w.next(doc)
			}
		}
	}

	return w.end(place)
}

// segmentWriter writes keys.
type segmentWriter struct {
	b      []byte
	blocks []uint32 // where they begin
	keys   int
	last   []byte // key
	doc    uint64 // its number
}

// begin writes the first key of a term.
func (w *segmentWriter) begin(term string, doc uint64) {
	shared := common(w.last, term)
	w.last = append(w.last[:0], term...)
	w.last = append(w.last, 0)
	w.last = binary.BigEndian.AppendUint64(w.last, doc)
	w.put(shared, doc)
}

// next writes a further key of the same term.
func (w *segmentWriter) next(doc uint64) {
	at := len(w.last) - 8
	binary.BigEndian.PutUint64(w.last[at:], doc)
	w.put(at+bits.LeadingZeros64(doc^w.doc)/8, doc)
}

// put writes the last key, which shares its first bytes with the one before.
func (w *segmentWriter) put(shared int, doc uint64) {
	if w.keys%segmentBlock == 0 {
		w.blocks = append(w.blocks, uint32(len(w.b)))
		shared = 0
	}
	w.keys++
	w.doc = doc

	w.b = binary.AppendUvarint(w.b, uint64(shared))
	w.b = binary.AppendUvarint(w.b, uint64(len(w.last)-shared))
	w.b = append(w.b, w.last[shared:]...)
}

// end writes what is behind the keys.
func (w *segmentWriter) end(place uint32) []byte {
	b := w.b
	end := len(b)
	for i, at := range w.blocks {
		to := end
		if i+1 < len(w.blocks) {
			to = int(w.blocks[i+1])
		}
		b = binary.BigEndian.AppendUint32(b, at)
		b = binary.BigEndian.AppendUint32(b, crc32.Update(place, castagnoli, b[at:to]))
	}

	b = binary.BigEndian.AppendUint32(b, uint32(end))
	return binary.BigEndian.AppendUint32(b, crc32.Update(place, castagnoli, b[end:]))
}

func common(a []byte, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// Segment is an encoded segment, opened.
type Segment struct {
	place        uint32
	keys, blocks []byte
}

// OpenSegment checks the list of blocks; the blocks themselves are checked as
// they are read.
func OpenSegment(place uint32, b []byte) (Segment, bool) {
	n := len(b) - 8
	if n < 0 {
		return Segment{}, false
	}

	end := int(binary.BigEndian.Uint32(b[n:]))
	if end > n || (n-end)%8 != 0 || n == end {
		return Segment{}, false
	}

	sum := crc32.Update(place, castagnoli, b[end:n+4])
	return Segment{place, b[:end], b[end:n]}, sum == binary.BigEndian.Uint32(b[n+4:])
}

// block returns the keys of one block; ok is false when its checksum is wrong.
func (g Segment) block(i int) (keys []byte, ok bool) {
	from, to := int(binary.BigEndian.Uint32(g.blocks[8*i:])), len(g.keys)
	if 8*(i+1) < len(g.blocks) {
		to = int(binary.BigEndian.Uint32(g.blocks[8*(i+1):]))
	}
	keys = g.keys[from:to]
	return keys, crc32.Update(g.place, castagnoli, keys) == binary.BigEndian.Uint32(g.blocks[8*i+4:])
}

// nextKey reads the next key of a block, given the one before.
func nextKey(b, last []byte) (key, rest []byte, ok bool) {
	shared, n := binary.Uvarint(b)
	if n <= 0 || shared > uint64(len(last)) {
		return nil, nil, false
	}

	part, rest, ok := Cut(b[n:])
	return append(last[:shared], part...), rest, ok
}

// Scan calls f with the keys from from up to to, in order. more reports whether
// f wants more; ok is false when the segment cannot be read.
func (g Segment) Scan(from, to []byte, f func(term []byte, doc uint64) bool) (more, ok bool) {
	n := len(g.blocks) / 8
	ok = true
	first := sort.Search(n, func(i int) bool {
		b, good := g.block(i)
		key, _, readable := nextKey(b, nil)
		ok = ok && good && readable
		return !ok || bytes.Compare(key, from) > 0
	})

	var key []byte
	for i := max(first-1, 0); ok && i < n; i++ {
		var b []byte
		b, ok = g.block(i)
		for key = key[:0]; ok && len(b) > 0; {
			if key, b, ok = nextKey(b, key); !ok || len(key) < 11 {
				return false, false
			}
			if bytes.Compare(key, to) >= 0 {
				return true, true
			}

			n := len(key) - 9
			if bytes.Compare(key, from) >= 0 && !f(key[:n], binary.BigEndian.Uint64(key[n+1:])) {
				return false, true
			}
		}
	}

	return true, ok
}
