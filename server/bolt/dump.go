package bolt

import (
	"fmt"
	"io"

	"go.etcd.io/bbolt"
)

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
