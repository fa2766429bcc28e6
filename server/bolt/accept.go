package bolt

import (
	"encoding/binary"
	"errors"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
)

// AcceptTime has the trust file of a stopped destination go on from now, after its
// clock was ahead and was set back. It returns up to when requests would have been
// refused; the zero time when there is nothing to accept, and then it changes
// nothing. It is refused with ErrInUse while a server runs.
//
// What was used before must not work again, and used jti are forgotten up to the
// time that the clock showed. So, as after a restore, every JWT is refused that
// could have been accepted up to now.
func AcceptTime(data string, now time.Time) (until time.Time, err error) {
	path := filepath.Join(data, "trust.bolt")
	db, err := openThere(path) // checks it, and makes no file
	if err != nil {
		return until, err
	}
	if err := db.Close(); err != nil {
		return until, err
	}
	if db, err = Open(path, trustSchema(), Options{NoFreelistSync: true}); err != nil {
		return until, err
	}

	err = db.Update(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(metaBucket)
		floor, ok1 := metaRows.get(meta, floorKey)
		restored, ok2 := metaRows.get(meta, restoredKey)
		if !ok1 || !ok2 {
			return &Error{
				Path:    path,
				Problem: "is damaged: what it knows of the time does not have its checksum",
				Hint:    "restore it from a backup (destination restore)",
			}
		}

		for _, t := range []time.Time{
			time.Unix(60*int64(floorOf(floor)), 0),
			time.Unix(restoredAt(restored), 0),
		} {
			if t.After(now) && t.After(until) {
				until = t.UTC()
			}
		}

		if until.IsZero() {
			return nil
		}

		return errors.Join(
			metaRows.put(meta, floorKey, binary.BigEndian.AppendUint32(nil, minuteOf(now)-1)),
			metaRows.put(meta, restoredKey, restoredMark(now.Unix())))
	})
	return until, errors.Join(err, db.Close())
}
