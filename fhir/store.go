package fhir

import (
	"context"
	"time"

	"fhirdest.example/fhir/search"
)

// Entry is one version of one resource.
type Entry struct {
	Doc      uint64 // the resource's number, the same in all its versions; 0 before it has one
	Type, ID string
	Version  uint64 // counted from 1
	Updated  time.Time
	Deleted  bool         // this version is the deletion: no Body, no Terms
	Terms    search.Terms // current versions only
	Body     []byte
}

// Snapshot is one state of the store. What it gives is valid until the function
// that it was handed to returns, and must not be changed: copy what is kept.
type Snapshot interface {
	search.Index
	// Entry gives a resource's current version.
	Entry(doc uint64) (Entry, bool)
	// Lookup gives the number of a resource that is or was there.
	Lookup(typ, id string) (doc uint64, ok bool)
	// Version gives a version, current or earlier.
	Version(doc, version uint64) (Entry, bool)
	// Changes calls f with every version of every resource of typ ("" for
	// all types), newest first, from just before seq on (0: from the newest),
	// until f returns false. Numbers seq count changes in the order in which
	// they were committed.
	Changes(typ string, before uint64, f func(seq, doc, version uint64) bool)
	// Each calls f with the number of every resource that was put, in order,
	// until it returns false.
	Each(f func(doc uint64) bool)
	// Setting gives a value that the server keeps for itself, nil if none.
	Setting(name string) []byte
}

// Change is a state of the store that is being changed.
type Change interface {
	Snapshot
	// Put keeps e as its resource's current version, indexes its Terms in the
	// place of the former ones, and keeps the former version as history. A
	// resource without a number gets one. It fails on a failing disk only.
	Put(e Entry) (doc uint64, err error)
	// PutRecord keeps a record: from the commit on, the store has its
	// AuditEvent (Record.Entry), current and first version at once.
	PutRecord(p PackedRecord)
	// DropIndex empties the index, and Reindex gives a resource that is not
	// in it other terms, without a new version. Records are indexed again by
	// the store itself.
	DropIndex() error
	Reindex(doc uint64, t search.Terms) error
	// SetSetting keeps a value for the server itself.
	SetSetting(name string, value []byte) error
}

// Store keeps resources. StoreTest in fhir/fhirtest is what every implementation
// must pass.
type Store interface {
	// View hands f the latest committed state. No socket may be written to
	// inside f.
	View(f func(Snapshot) error) error
	// Update does f's changes all or not at all, and returns when they are on
	// disk. Updates share commits: f may be run again after others' failure,
	// and sees what was done before it.
	Update(ctx context.Context, f func(Change) error) error
}
