package trail

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// Hash is the hash of one record and, by way of the one before it, of all earlier
// ones.
type Hash [sha256.Size]byte

func (h Hash) String() string {
	return hex.EncodeToString(h[:])
}

// Place is a place in the chain: that of a record, or the start before the first.
type Place struct {
	Sequence uint64 // of the record among all records, counted from 1; 0 at the start
	Doc      uint64 // the record's number in the store; 0 at the start
	Hash     Hash   // of the record; zero at the start
}

// domain keeps these hashes apart from all others.
const domain = "fhirdest audit record 1\x00"

// Next returns the place of the record that follows, which has a number of its own.
func (p Place) Next(doc uint64, packed Packed) Place {
	next := Place{
		Sequence: p.Sequence + 1,
		Doc:      doc,
	}

	b := make([]byte, 0, 512)
	b = append(b, domain...)
	b = binary.BigEndian.AppendUint64(b, next.Sequence)
	b = binary.BigEndian.AppendUint64(b, doc)
	b = append(b, p.Hash[:]...)
	for _, part := range [][]byte{packed.Who, packed.Asked, packed.Own} {
		b = binary.BigEndian.AppendUint64(b, uint64(len(part)))
		b = append(b, part...)
	}

	next.Hash = sha256.Sum256(b)
	return next
}

// Chain is the extent of the chain.
type Chain struct {
	// Anchor is the last record that was removed because it was too old; the
	// start if none was.
	Anchor Place
	// Head is the last record. It is kept apart from the records.
	Head Place
}

// Link is one record in the chain.
type Link struct {
	Place            // Hash is computed from the content and Previous
	Previous Hash    // the hash of the record before, as it is kept with this one
	Record   *Record // nil when Err is not
	// Err reports that the row which begins with this number cannot be read; of
	// Place only Doc is known then.
	Err error
}

// Reader reads the chain in one state of a store.
type Reader interface {
	// Chain returns its extent.
	Chain(ctx context.Context) (Chain, error)
	// Links calls f with the records whose numbers are above after, in order,
	// until f returns false. Rows that cannot be read are links with an Err.
	Links(ctx context.Context, after uint64, f func(Link) bool) error
	// Check calls f with what is wrong with the records in ways that the chain does
	// not show, as far as the store can find out: all of them are gone, together
	// with head and anchor, or they are not listed among the changes.
	Check(ctx context.Context, f func(Finding)) error
}

// Each calls f with the records whose numbers are above after, in order, until f
// returns false. It stops with an error at a row that cannot be read. The position
// of a reader who goes on later is the number of the last record that it was passed.
func Each(
	ctx context.Context, r Reader, after uint64, f func(doc uint64, rec *Record) bool,
) error {
	var unread error
	err := r.Links(ctx, after, func(l Link) bool {
		if l.Err != nil {
			unread = l.Err
			return false
		}
		return f(l.Doc, l.Record)
	})
	if err == nil {
		err = unread
	}
	return err
}
