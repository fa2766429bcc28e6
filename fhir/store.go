package fhir

import (
	"context"
	"errors"
	"time"

	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/trail"
)

// Entry is one version of one resource.
type Entry struct {
	Doc      uint64 // the resource's number, the same in all its versions; 0 before it has one
	Type, ID string
	Version  uint64 // counted from 1
	Updated  time.Time
	Method   string       // HTTP method that made it; "" for DELETE and where it is not known
	Deleted  bool         // this version is the deletion: no Body, no Terms
	Terms    search.Terms // current versions only
	Body     []byte
}

// Snapshot is one state of the store, with the audit records as resources. What it
// returns is valid until the function that it was passed to returns, and must not
// be changed: copy what is needed for longer. Stores make it with NewSnapshot.
//
// An error of any method means that the answer is not known, and whoever asked
// must fail with it. It wraps ErrDamaged when the stored bytes cannot be what
// the store once wrote. ok is false, without an error, only for what was never
// there. Every method stops with ctx when it has much to read.
type Snapshot interface {
	search.Index
	// Entry returns a resource's current version.
	Entry(ctx context.Context, doc uint64) (e Entry, ok bool, err error)
	// Entries calls f with the current version of each of docs, in that order,
	// until f returns false. A number that the store does not have is an error.
	// Callers ask for many at once, so that a store behind a network needs few
	// round trips.
	Entries(ctx context.Context, docs []uint64, f func(Entry) bool) error
	// Lookup returns the number of a resource that is or was there.
	Lookup(ctx context.Context, typ, id string) (doc uint64, ok bool, err error)
	// Version returns a version, current or earlier.
	Version(ctx context.Context, doc, version uint64) (e Entry, ok bool, err error)
	// Changes is that of Resources.
	Changes(ctx context.Context, typ string, before uint64, f func(seq, doc, version uint64) bool) error
	// Each is that of Resources.
	Each(ctx context.Context, after uint64, f func(Entry) bool) error
	// Setting returns a value that the server stores for itself, nil if none.
	Setting(ctx context.Context, name string) ([]byte, error)
	// Audit returns the records as they are kept.
	Audit() AuditReader
}

// Resources is what a store has of resources in one state, audit records excepted.
// Errors, ok and ctx are as in Snapshot. Numbers come from one sequence: each is a
// resource's, a record's, or was never given.
type Resources interface {
	// Scan is that of search.Index.
	Scan(ctx context.Context, from, to []byte, f func(term []byte, doc uint64) bool) error
	// Terms calls f with the id and terms of each of docs, in that order, until
	// f returns false or a number is no resource's. It returns how many numbers
	// it has passed to f.
	Terms(ctx context.Context, docs []uint64, f func(doc uint64, id string, t search.Terms) bool) (n int, err error)
	// Entries does the same with current versions.
	Entries(ctx context.Context, docs []uint64, f func(Entry) bool) (n int, err error)
	// Entry returns a resource's current version.
	Entry(ctx context.Context, doc uint64) (e Entry, ok bool, err error)
	// Lookup returns the number of a resource that is or was there.
	Lookup(ctx context.Context, typ, id string) (doc uint64, ok bool, err error)
	// Version returns a version, current or earlier.
	Version(ctx context.Context, doc, version uint64) (e Entry, ok bool, err error)
	// Changes calls f with every version of every resource of typ ("" for
	// all types), newest first, from just before seq on (0: from the newest),
	// until f returns false. A record is one version of an AuditEvent. No change
	// appears in it later with a number below one that was visible before.
	Changes(ctx context.Context, typ string, before uint64, f func(seq, doc, version uint64) bool) error
	// Each calls f with the current version of every resource that was put and has
	// a number above after, in the order of the numbers, until f returns false.
	Each(ctx context.Context, after uint64, f func(Entry) bool) error
	// Setting returns a value that the server stores for itself, nil if none.
	Setting(ctx context.Context, name string) ([]byte, error)
	// Lost is the error for a number that the index or an id leads to, and that
	// is neither a resource's nor a record's. It wraps ErrDamaged.
	Lost(doc uint64) error
}

// Ahead is what Resources may be besides: those of a store behind a network, which
// reads in one round trip what it will be asked for next.
type Ahead interface {
	// ReadAhead prepares for Scan to be asked about each of some terms, and Entries
	// about what has them. It changes nothing that these return, and reads a bounded
	// part of it.
	ReadAhead(ctx context.Context, terms [][]byte) error
	// Expect has the same read together with what is asked for first. Entries will
	// also be asked about the first n, above a number, of the resources that Terms is
	// asked about.
	Expect(terms [][]byte, after uint64, n int)
}

// Dated is what Resources may be besides: those of a store that finds with little work
// how far its log of changes reaches.
type Dated interface {
	// LastChange is that of consent.Dated.
	LastChange(ctx context.Context, typ string) (number uint64, log any)
}

// AuditReader reads the audit records in one state of a store. Errors, ok and ctx
// are as in Snapshot.
type AuditReader interface {
	// Reader reads them in their order, with the chain of hashes that they form.
	trail.Reader
	// Record returns the record of a number.
	Record(ctx context.Context, doc uint64) (rec *trail.Record, ok bool, err error)
	// Records calls f with the record of each of docs, in that order, until f
	// returns false or a number is no record's. It returns how many numbers it
	// has passed to f.
	Records(ctx context.Context, docs []uint64, f func(doc uint64, rec *trail.Record) bool) (n int, err error)
	// Scan is that of search.Index over the terms of records (trail.Record.Terms).
	Scan(ctx context.Context, from, to []byte, f func(term []byte, doc uint64) bool) error
}

// AuditStore stores the records of what was done. How it keeps them is its own
// matter: they are many, small and never change.
type AuditStore interface {
	AuditReader
	// Append stores records in their order, each under a number of its own. They
	// are read once they are committed, and must not be changed afterwards.
	Append(ctx context.Context, records []trail.Record) error
	// Expire removes records made before a moment, the oldest first, and stops at
	// the first that was not: about most of them at once, so that no change
	// waits for long. It returns how many it removed. The chain then begins
	// after them, at Chain.Anchor.
	Expire(ctx context.Context, before time.Time, most int) (removed int, err error)
}

// Change is a state of the store that is being changed. Stores make it with
// NewChange.
type Change interface {
	Snapshot
	resourceWriter
	// Append is that of AuditStore. Once it is committed, each record is an
	// AuditEvent , current and first version at once, which is
	// read and searched like any resource.
	Append(ctx context.Context, records []trail.Record) error
	// Expire is that of AuditStore.
	Expire(ctx context.Context, before time.Time, most int) (removed int, err error)
}

// ResourceStore is what a store has of resources in a state that is being changed.
type ResourceStore interface {
	Resources
	resourceWriter
}

type resourceWriter interface {
	// Put stores e as its resource's current version, indexes its Terms in the
	// place of the former ones, and keeps the former version as history. A
	// resource without a number gets one. It refuses to follow a version that
	// is damaged.
	Put(ctx context.Context, e Entry) (doc uint64, err error)
	// DropIndex empties the index, and Reindex gives a resource that is not
	// in it other terms, without a new version. Records are indexed again by
	// the store itself.
	DropIndex(ctx context.Context) error
	Reindex(ctx context.Context, doc uint64, t search.Terms) error
	// SetSetting stores a value for the server itself.
	SetSetting(ctx context.Context, name string, value []byte) error
}

// ErrDamaged is the cause of the error of a store that found stored bytes which
// cannot be what it once wrote.
var ErrDamaged = search.ErrDamaged

// ErrUnavailable is the cause of the error of a store that cannot write at
// present: its disk is full, failing or read-only, or it is being closed.
// Whoever asked may try again later.
var ErrUnavailable = errors.New("the store cannot be written at present")

// Store keeps resources. StoreTest in fhir/fhirtest is what every implementation
// must pass.
type Store interface {
	// View passes f the latest committed state, which has what was committed before
	// the call by any handle or destination. No socket may be written to inside f.
	// f may be run again, from the start and on a later state, so it must set anew
	// whatever it sets outside, and an error of the Snapshot is not the last word.
	View(ctx context.Context, f func(Snapshot) error) error
	// Update does f's changes all or not at all, and returns when they are on
	// disk. It is retryable: f may be run again, from the start and on another
	// state, after a conflict or after another update of the same commit
	// failed, so f must have no effect but through its Change and must set
	// anew whatever it sets outside. It sees what was done before it.
	Update(ctx context.Context, f func(Change) error) error
}
