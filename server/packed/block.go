// Package packed lays out rows that hold many small things: blocks of audit records,
// and segments of their index. Every engine stores them alike, so that they are
// copied from one to another as they are. Its caller seals the rows.
package packed

import (
	"encoding/binary"
	"time"

	"fhirdest.example/fhir/trail"
)

// Block is a row of "records": records with successive numbers and places in one
// chain.
type Block struct {
	Chain    string // the destination of a database that wrote it; "" for the only one of a file
	First    uint64 // number of the first record
	Sequence uint64 // its place in the chain
	Links    []Link
	// Joint joins the commit on a database that ends with this block to the one before
	// it; nil where there is none.
	Joint *trail.Joint
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

// End returns the place of the last record.
func (b *Block) End() trail.Place {
	last := len(b.Links) - 1
	return b.Place(last).Next(b.First+uint64(last), b.Links[last].Packed)
}

// Encode writes how many records there are, the place of the first, and the parts
// that records share; then each record's hash of the one before, indexes of its
// shared parts, and its own part. Before that it writes a zero byte, the chain and the
// joint, unless the block is of the file's own chain.
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

	out := make([]byte, 0, 32+len(b.Chain)+len(shared)+len(own)) // with room for a checksum
	out = b.appendOrigin(out)
	out = binary.AppendUvarint(out, uint64(len(b.Links)))
	out = binary.BigEndian.AppendUint64(out, b.Sequence)
	out = binary.AppendUvarint(out, uint64(len(index)))
	return append(append(out, shared...), own...)
}

// appendOrigin writes where the records of another chain come from.
func (b *Block) appendOrigin(out []byte) []byte {
	if b.Chain == "" && b.Joint == nil {
		return out
	}
	out = appendPart(append(out, 0), []byte(b.Chain))
	if b.Joint == nil {
		return appendPart(out, nil)
	}
	joint := binary.BigEndian.AppendUint64(b.Joint.Previous[:], b.Joint.Change)
	return appendPart(out, joint)
}

// jointLength is the length of a joint: a hash and a number.
const jointLength = len(trail.Hash{}) + 8

// origin reads what appendOrigin wrote.
func (b *Block) origin(r *reader) {
	if len(r.b) == 0 || r.b[0] != 0 {
		return
	}
	r.b = r.b[1:]
	b.Chain = string(r.part())
	joint := r.part()
	switch len(joint) {
	case 0:
		r.bad = r.bad || b.Chain == ""
	case jointLength:
		b.Joint = &trail.Joint{
			Previous: trail.Hash(joint),
			Change:   binary.BigEndian.Uint64(joint[len(trail.Hash{}):]),
		}
	default:
		r.bad = true
	}
}

func appendPart(b, part []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(part))), part...)
}

// Records returns how many records a block has that Encode wrote; 0 for other bytes.
func Records(v []byte) uint64 {
	r := reader{b: v}
	new(Block).origin(&r)
	return r.number()
}

// Decode reads what Encode wrote under a key; the parts point into it.
func Decode(key, v []byte) (*Block, bool) {
	r := reader{b: v}
	b := new(Block)
	b.origin(&r)
	n := r.number()
	if len(key) != 8 || r.bad || len(r.b) < 8 || n == 0 || n > uint64(len(v)) {
		return nil, false
	}

	b.First = binary.BigEndian.Uint64(key)
	b.Sequence = binary.BigEndian.Uint64(r.b)
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
