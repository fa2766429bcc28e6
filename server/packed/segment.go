package packed

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"sort"
)

// Records never change. Their index keys do not go into the tree one by one,
// which would touch a page for each, but as one segment for many records: the
// keys in order, each without what it shares with the one before, in blocks
// that can be searched.

// castagnoli is the polynomial of the checksums.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const segmentBlock = 32 // keys between two that are written in full

// EncodeSegment writes keys that are in order. Behind them are, for each block,
// where it begins and its checksum, then where the last block ends and the
// checksum of this list; all checksums begin with that of the segment's place.
func EncodeSegment(place uint32, keys [][]byte) []byte {
	var b []byte
	var blocks []uint32
	var last []byte

	for i, k := range keys {
		shared := 0
		if i%segmentBlock == 0 {
			blocks = append(blocks, uint32(len(b)))
		} else {
			shared = common(last, k)
		}

		b = binary.AppendUvarint(b, uint64(shared))
		b = binary.AppendUvarint(b, uint64(len(k)-shared))
		b = append(b, k[shared:]...)
		last = k
	}

	end := len(b)
	for i, at := range blocks {
		to := end
		if i+1 < len(blocks) {
			to = int(blocks[i+1])
		}
		b = binary.BigEndian.AppendUint32(b, at)
		b = binary.BigEndian.AppendUint32(b, crc32.Update(place, castagnoli, b[at:to]))
	}

	b = binary.BigEndian.AppendUint32(b, uint32(end))
	return binary.BigEndian.AppendUint32(b, crc32.Update(place, castagnoli, b[end:]))
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
