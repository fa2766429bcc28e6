package bolt

import (
	"fmt"
	"io"

	"go.etcd.io/bbolt"
)

// tableID names a bucket of fhir.bolt.
type tableID uint8

const (
	docsTable tableID = iota
	idsTable
	versionsTable
	indexTable
	segmentsTable
	recordsTable
	logTable
	settingsTable
	tables
)

var tableRows = [tables]rows{
	rowsOf("docs"), rowsOf("ids"), rowsOf("versions"), rowsOf("index"),
	rowsOf("segments"), rowsOf("records"), rowsOf("log"), rowsOf("settings"),
}

// table is a bucket of fhir.bolt in one transaction.
type table struct {
	rows
	*bbolt.Bucket
	state *state
}

// in opens a table when it is first needed: most requests need two of them.
func (s *state) in(id tableID) *table {
	t := &s.tables[id]
	if t.Bucket == nil {
		t.rows, t.state = tableRows[id], s
		t.Bucket = s.tx.Bucket([]byte(t.name))
	}
	return t
}

// get returns a row's value, nil when there is none.
func (t *table) get(key []byte) ([]byte, error) {
	value, ok := t.rows.get(t.Bucket, key)
	if !ok {
		return nil, t.unsound(key)
	}
	return value, nil
}

func (t *table) put(key, value []byte) error {
	return t.rows.put(t.Bucket, key, value)
}

// unseal returns the value of a row that a cursor met.
func (t *table) unseal(key, sealed []byte) ([]byte, error) {
	value, ok := t.rows.open(key, sealed)
	if !ok {
		return nil, t.unsound(key)
	}
	return value, nil
}

func (t *table) unsound(key []byte) error {
	return t.damaged(key, "does not have its checksum")
}

// damaged is the error for a row of this table.
func (t *table) damaged(key []byte, problem string) error {
	return t.state.health.found(&Damaged{
		File:    t.state.tx.DB().Path(),
		Bucket:  t.name,
		Key:     printable(key),
		Problem: problem,
	})
}

// Dump writes every key and value of a file in Bolt's order, one a line, in a
// form that two dumps can be compared by. Tests hold it against what a refused
// request must not have changed.
func Dump(db *bbolt.DB, w io.Writer) error {
	return db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			return dumpBucket(fmt.Sprintf("%q", name), b, w)
		})
	})
}

func dumpBucket(path string, b *bbolt.Bucket, w io.Writer) error {
	if _, err := fmt.Fprintf(w, "%s sequence=%d\n", path, b.Sequence()); err != nil {
		return err
	}

	return b.ForEach(func(k, v []byte) error {
		if v == nil {
			return dumpBucket(fmt.Sprintf("%s/%q", path, k), b.Bucket(k), w)
		}
		_, err := fmt.Fprintf(w, "%s/%q = %q\n", path, k, v)
		return err
	})
}
