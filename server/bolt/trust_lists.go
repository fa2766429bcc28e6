package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"time"

	"go.etcd.io/bbolt"

	"fhirdest.example/udap/fetch"
)

// LoadCRL returns a revocation list as fetch.ListStore wants it. A record is
// when it was fetched (8 bytes, Unix seconds) and its DER.
func (t *Trust) LoadCRL(key string) (l fetch.StoredCRL, ok bool, err error) {
	err = t.health.view(context.Background(), t.db, func(tx *bbolt.Tx) error {
		v, err := t.get(listRows, tx.Bucket(listsBucket), []byte(key), never)
		if v == nil {
			return err
		}
		if len(v) < 8 {
			return t.damaged(listsBucket, []byte(key), "is cut short")
		}

		l.Fetched = time.Unix(int64(binary.BigEndian.Uint64(v)), 0).UTC()
		l.DER, ok = bytes.Clone(v[8:]), true
		return nil
	})
	return l, ok, err
}

// SaveCRL keeps a revocation list in the place of the former one.
func (t *Trust) SaveCRL(key string, l fetch.StoredCRL) error {
	record := listOf(l.Fetched, l.DER)
	return t.commits.Do(context.Background(), func(b *trustBatch) error {
		return listRows.put(b.writable(listsBucket), []byte(key), bytes.Clone(record))
	})
}

// listOf is the record of a list.
func listOf(fetched time.Time, der []byte) []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(fetched.Unix())), der...)
}
