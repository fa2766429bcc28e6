package trail

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// Hash is the hash of one record and, by way of the one before it, of all earlier
// ones of its chain.
type Hash [sha256.Size]byte

func (h Hash) String() string {
	return hex.EncodeToString(h[:])
}

// Place is a place in the chain: that of a record, or the start before the first.
type Place struct {
	Sequence uint64 // of the record in its chain, counted from 1; 0 at the start
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

	b := make([]byte, 0, usualRecord)
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

// Chain is the extent of the chain of one destination.
type Chain struct {
	// Name is that of the destination; empty where the store is one destination's.
	Name string
	// Anchor is the last record that was removed because it was too old; the
	// start if none was.
	Anchor Place
	// Head is the last record. It is kept apart from the records.
	Head Place
}

// Extent is that of all chains in a store.
type Extent struct {
	Chains []Chain // in the order of their names
	// Joined and Newest are the hashes of the last commit that was removed because it
	// was too old, and of the last one: see Joint. They are zero where there is none.
	Joined, Newest Hash
}

// Of returns the chain of a name; an empty one if there is none.
func (e Extent) Of(name string) Chain {
	for _, c := range e.Chains {
		if c.Name == name {
			return c
		}
	}
	return Chain{Name: name}
}

// Head returns the number of the last record of all chains; 0 if there is none.
func (e Extent) Head() (doc uint64) {
	for _, c := range e.Chains {
		doc = max(doc, c.Head.Doc)
	}
	return doc
}

// Anchor returns the number of the last record that was removed.
func (e Extent) Anchor() (doc uint64) {
	for _, c := range e.Chains {
		doc = max(doc, c.Anchor.Doc)
	}
	return doc
}

// Joint joins the chains of destinations that share a store: their commits of records
// form a chain of their own, whatever destination each is of. So records that are gone
// together with the whole chain of their destination are missed.
type Joint struct {
	Previous Hash   // of the commit before; zero for the first
	Change   uint64 // number of the first record of this commit among all changes
}

// commitDomain keeps the hashes of commits apart from all others.
const commitDomain = "fhirdest audit commit 1\x00"

// Next returns the hash of the commit by the destination of that name, of which last
// is the last record.
func (j Joint) Next(name string, last Place) Hash {
	b := make([]byte, 0, 256)
	b = append(b, commitDomain...)
	b = append(b, j.Previous[:]...)
	b = binary.BigEndian.AppendUint64(b, j.Change)
	b = binary.BigEndian.AppendUint64(b, uint64(len(name)))
	b = append(b, name...)
	b = binary.BigEndian.AppendUint64(b, last.Sequence)
	b = binary.BigEndian.AppendUint64(b, last.Doc)
	b = append(b, last.Hash[:]...)

	return sha256.Sum256(b)
}

// Link is one record in its chain.
type Link struct {
	Chain    string // its name
	Place           // Hash is computed from the content and Previous
	Previous Hash   // the hash of the record before, as it is kept with this one
	// Joint is, with the last record of each commit, what joins the chains; nil where
	// the store is one destination's.
	Joint  *Joint
	Record *Record // nil when Err is not
	// Err reports that the row which begins with this number cannot be read; of
	// Place only Doc is known then.
	Err error
}

// Reader reads the chains in one state of a store.
type Reader interface {
	// Extent returns how far they reach.
	Extent(ctx context.Context) (Extent, error)
	// Links calls f with the records of all chains whose numbers are above after, in
	// the order of their numbers, until f returns false. Rows that cannot be read are
	// links with an Err.
	Links(ctx context.Context, after uint64, f func(Link) bool) error
	// Check calls f with what is wrong with the records in ways that the chains do
	// not show, as far as the store can find out: all of them are gone, together
	// with heads and anchors, or they are not listed among the changes.
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
