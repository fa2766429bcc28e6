// Package packed lays out rows that hold many small things: blocks of audit records,
// and segments of their index. The rows are sealed by its caller.
package packed

import (
	"encoding/binary"
	"time"

	"fhirdest.example/fhir/trail"
)

// Block is a row of "records": records with successive numbers and places in the
// chain.
type Block struct {
	First    uint64 // number of the first record
	Sequence uint64 // its place in the chain
	Links    []Link
}

// Link is a record, and the hash of the one before.
type Link struct {
	trail.Packed
	Previous trail.Hash
}

// Place is where the record before the one at i is.
func (b *Block) Place(i int) trail.Place {
	return trail.Place{
		Sequence: b.Sequence + uint64(i) - 1,
		Hash:     b.Links[i].Previous,
	}
}

// Before reports whether all records were made before a moment.
func (b *Block) Before(t time.Time) bool {
	for _, l := range b.Links {
		rec, err := l.Unpack()
		if err != nil || !rec.At.Before(t) {
			return false
		}
	}
	return true
}

// Follow reports whether the records follow a place in the chain, and returns the
// place of the last.
func (b *Block) Follow(p trail.Place) (trail.Place, bool) {
	if b.Sequence != p.Sequence+1 {
		return p, false
	}
	for i, l := range b.Links {
		if l.Previous != p.Hash {
			return p, false
		}
		p = p.Next(b.First+uint64(i), l.Packed)
	}
	return p, true
}

// Encode writes how many records there are, the place of the first, and the parts
// that records share; then each record's hash of the one before, indexes of its
// shared parts, and its own part.
func (b *Block) Encode() []byte {
	index := map[string]uint64{}
	var shared, own []byte
	indexOf := func(part []byte) uint64 {
		i, ok := index[string(part)]
		if !ok {
			i = uint64(len(index))
			index[string(part)] = i
			shared = appendPart(shared, part)
		}
		return i
	}

	for _, l := range b.Links {
		own = append(own, l.Previous[:]...)
		own = binary.AppendUvarint(own, indexOf(l.Who))
		own = binary.AppendUvarint(own, indexOf(l.Asked))
		own = appendPart(own, l.Own)
	}

	out := make([]byte, 0, 32+len(shared)+len(own)) // with room for a checksum
	out = binary.AppendUvarint(out, uint64(len(b.Links)))
	out = binary.BigEndian.AppendUint64(out, b.Sequence)
	out = binary.AppendUvarint(out, uint64(len(index)))
	return append(append(out, shared...), own...)
}

func appendPart(b, part []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(part))), part...)
}

// Decode reads what Encode wrote under a key; the parts point into it.
func Decode(key, v []byte) (*Block, bool) {
	r := reader{b: v}
	n := r.number()
	if len(key) != 8 || r.bad || len(r.b) < 8 || n == 0 || n > uint64(len(v)) {
		return nil, false
	}

	b := &Block{
		First:    binary.BigEndian.Uint64(key),
		Sequence: binary.BigEndian.Uint64(r.b),
	}
	r.b = r.b[8:]
	for parts := r.number(); parts > 0 && !r.bad; parts-- {
		r.shared = append(r.shared, r.part())
	}

	b.Links = make([]Link, 0, min(n, 128))
	for ; n > 0 && !r.bad; n-- {
		b.Links = append(b.Links, r.link())
	}
	return b, !r.bad && len(r.b) == 0
}

// reader reads parts of a block.
type reader struct {
	b      []byte
	shared [][]byte
	bad    bool
}

func (r *reader) number() uint64 {
	n, k := binary.Uvarint(r.b)
	if k <= 0 {
		r.bad = true
		r.b = nil
		return 0
	}
	r.b = r.b[k:]
	return n
}

func (r *reader) part() []byte {
	part, rest, ok := Cut(r.b)
	if !ok {
		r.bad = true
	}
	r.b = rest
	return part
}

func (r *reader) link() (l Link) {
	if len(r.b) < len(l.Previous) {
		r.bad = true
		return l
	}
	copy(l.Previous[:], r.b)
	r.b = r.b[len(l.Previous):]

	who, asked := r.number(), r.number()
	if max(who, asked) >= uint64(len(r.shared)) {
		r.bad = true
		return l
	}
	l.Who, l.Asked, l.Own = r.shared[who], r.shared[asked], r.part()
	return l
}

// Cut returns a part that is led by its length, and what is behind it.
func Cut(b []byte) (part, rest []byte, ok bool) {
	n, k := binary.Uvarint(b)
	if k <= 0 || n > uint64(len(b)-k) {
		return nil, nil, false
	}
	return b[k : k+int(n)], b[k+int(n):], true
}
