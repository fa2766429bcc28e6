package fhir

import (
	"context"
	"errors"
	"time"

	"fhirdest.example/fhir/search"
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

// Snapshot is one state of the store. What it returns is valid until the
// function that it was passed to returns, and must not be changed: copy what is
// needed for longer.
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
	// Changes calls f with every version of every resource of typ ("" for
	// all types), newest first, from just before seq on (0: from the newest),
	// until f returns false. No change appears in it later with a number below
	// one that was visible before.
	Changes(ctx context.Context, typ string, before uint64, f func(seq, doc, version uint64) bool) error
	// Each calls f with the number of every resource that was put and has a
	// number above after, in order, until f returns false.
	Each(ctx context.Context, after uint64, f func(doc uint64) bool) error
	// Setting returns a value that the server stores for itself, nil if none.
	Setting(ctx context.Context, name string) ([]byte, error)
}

// AuditStore stores the records of what was done. How it keeps them is its own
// matter: they are many, small and never change.
type AuditStore interface {
	// Append stores records in their order. Once it is committed, each is an
	// AuditEvent (Record.Entry), current and first version at once, which is
	// read and searched like any resource. The records must not be changed
	// afterwards.
	Append(ctx context.Context, records []Record) error
}

// Change is a state of the store that is being changed.
type Change interface {
	Snapshot
	AuditStore
	// Put stores e as its resource's current version, indexes its Terms in the
	// place of the former ones, and keeps the former version as history. A
	// resource without a number gets one, higher than all that were given before:
	// numbers grow in the order of the changes that gave them. It refuses to follow a version that
	// is damaged.
	Put(ctx context.Context, e Entry) (doc uint64, err error)
	// DropIndex empties the index, and Reindex gives a resource that is not
	// in it other terms, without a new version. Records are indexed again by
	// the store itself.
	DropIndex(ctx context.Context) error
	Reindex(ctx context.Context, doc uint64, t search.Terms) error
	// SetSetting stores a value for the server itself; nil removes it.
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
	// View passes f the latest committed state. No socket may be written to
	// inside f.
	View(ctx context.Context, f func(Snapshot) error) error
	// Update does f's changes all or not at all, and returns when they are on
	// disk. It is retryable: f may be run again, from the start and on another
	// state, after a conflict or after another update of the same commit
	// failed, so f must have no effect but through its Change and must set
	// anew whatever it sets outside. It sees what was done before it.
	Update(ctx context.Context, f func(Change) error) error
}
