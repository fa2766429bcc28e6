package bolt

import (
	"bytes"
	"encoding/binary"
	"sort"
)

// Records never change. Their index keys do not go into the tree one by one,
// which would touch a page for each, but as one segment for many records: the
// keys in order, each without what it shares with the one before, in blocks
// that can be searched.

const segmentBlock = 32 // keys between two that stand in full

// encodeSegment writes keys that are in order.
func encodeSegment(keys [][]byte) []byte {
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
	if at > len(g.keys) {
		return nil, 0, false
	}
	shared, n := binary.Uvarint(g.keys[at:])
	if n <= 0 || shared > uint64(len(last)) {
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

// scan calls f with the keys from from up to to, in order. more reports whether
// f wants more; ok is false when the segment cannot be read.
func (g segment) scan(from, to []byte, f func(term []byte, doc uint64) bool) (more, ok bool) {
	n := len(g.blocks) / 4
	if n == 0 || len(g.blocks)%4 != 0 {
		return false, false
	}

	ok = true
	first := sort.Search(n, func(i int) bool {
		key, _, good := g.next(g.at(i), nil)
		ok = ok && good
		return !good || bytes.Compare(key, from) > 0
	})

	var key []byte
	for at := g.at(max(first-1, 0)); ok && at < len(g.keys); {
		if key, at, ok = g.next(at, key); !ok || len(key) < 11 {
			return false, false
		}
		if bytes.Compare(key, to) >= 0 {
			return true, true
		}
		if n := len(key) - 9; bytes.Compare(key, from) >= 0 && !f(key[:n], binary.BigEndian.Uint64(key[n+1:])) {
			return false, true
		}
	}

	return true, ok
}
