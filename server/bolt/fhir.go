package bolt

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"go.etcd.io/bbolt"

	"fhirdest.example/fhir"
	"fhirdest.example/server/shared"
)

// FHIR is fhir.bolt: resources, their versions and their index. It implements
// fhir.Store.
//
// Layout: "docs" has a resource's number and its current version; "ids" has
// type NUL id and the number; "versions" has number and version, and what was
// current before; "index" has a term, NUL and number; "records" and "segments"
// have the audit records and their part of the index; "log" has a bucket per
// type of change number, and the resource and version that it made.
type FHIR struct {
	db      *bbolt.DB
	commits *shared.Committer[*state]
	health  *health
	closing sync.Once
	changed atomic.Pointer[lastChange] // of the state that was asked last
}

var fhirSchema = Schema{
	Kind:    "fhir",
	Version: 7,
	Buckets: []string{
		"docs", "ids", "versions", "index", "segments", "records", "log", "settings",
	},
	Steps: map[uint64]func(*bbolt.DB) error{
		4: func(db *bbolt.DB) error { // to rows with checksums
			if err := sealBuckets(db, sealedFHIR); err != nil {
				return err
			}
			return db.Update(dropIndexOf)
		},
		5: chainRecords,
		6: func(*bbolt.DB) error { return nil }, // which knew no chain but its own
	},
}

// sealedFHIR are the buckets whose rows got checksums with layout 5; those of the
// index are made anew.
var sealedFHIR = []string{"docs", "ids", "versions", "records", "log", "settings"}

// dropIndexOf empties the index, and marks it as one made by other rules, so
// that the FHIR service makes it anew.
func dropIndexOf(tx *bbolt.Tx) error {
	for _, id := range []tableID{indexTable, segmentsTable} {
		name := []byte(tableRows[id].name)
		if err := tx.DeleteBucket(name); err != nil {
			return err
		}
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}

	settings := tx.Bucket([]byte("settings"))
	rows := tableRows[settingsTable]
	return errors.Join(
		rows.put(settings, tailKey, make([]byte, 16)),
		rows.put(settings, []byte("index-version"), make([]byte, 8)))
}

// maxShared bounds how many updates one commit may carry.
const maxShared = 256

// OpenFHIR opens fhir.bolt, and makes it if there is none.
func OpenFHIR(path string, o Options) (*FHIR, error) {
	db, err := Open(path, fhirSchema, o)
	if err != nil {
		return nil, err
	}

	s := &FHIR{
		db:     db,
		health: &health{},
	}
	err = s.view(context.Background(), (*state).checkNumbers)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}

	o.MaxBatch = maxShared
	s.commits = newCommitter(db, o, s.health, s.newState)
	return s, nil
}

// Close commits what is under way and closes the file.
func (s *FHIR) Close() error {
	s.closing.Do(s.commits.Close)
	return s.db.Close()
}

// Health returns what an operator must know of the file: damaged rows that were
// met, and why the last commit failed.
func (s *FHIR) Health() []string {
	return s.health.alarms()
}

// View implements fhir.Store.
func (s *FHIR) View(ctx context.Context, f func(fhir.Snapshot) error) error {
	return s.view(ctx, func(st *state) error {
		return f(fhir.NewSnapshot(st, &st.audit))
	})
}

func (s *FHIR) view(ctx context.Context, f func(*state) error) error {
	return s.health.view(ctx, s.db, func(tx *bbolt.Tx) error {
		return f(s.newState(tx))
	})
}

// Update implements fhir.Store.
func (s *FHIR) Update(ctx context.Context, f func(fhir.Change) error) error {
	return s.commits.Do(ctx, func(st *state) error {
		return f(fhir.NewChange(st, &st.audit))
	})
}
