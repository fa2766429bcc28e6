package bolt

import (
	"bytes"
	"time"

	"go.etcd.io/bbolt"

	"fhirdest.example/server/oauth"

	"github.com/go-json-experiment/json"
)

// sealChunk is how many bytes of rows one transaction of sealBuckets writes.
const sealChunk = 8 << 20

// sealPlace is how far sealBuckets has got: it is in the file under a key of the
// "meta" bucket.
type sealPlace struct {
	Bucket int    `json:"bucket"` // index of the names
	Inner  []byte `json:"inner"`  // bucket inside of it; nil for none
	Key    []byte `json:"key"`    // last one that is sealed
}

var sealPlaceKey = []byte("sealing")

// sealBuckets gives the rows of some buckets their checksums, in transactions of
// bounded length. It is the migration to the layouts that have them.
func sealBuckets(db *bbolt.DB, names []string) error {
	for more := true; more; {
		err := db.Update(func(tx *bbolt.Tx) (err error) {
			more, err = sealSome(tx, names, sealChunk)
			return err
		})
		if err != nil {
			return err
		}
	}

	return nil
}

type unsealedRow struct {
	bucket     *bbolt.Bucket
	rows       rows
	key, value []byte
}

// sealSome seals the next rows; more is false when it has sealed the last.
func sealSome(tx *bbolt.Tx, names []string, chunk int) (more bool, err error) {
	meta := tx.Bucket(metaBucket)
	var at sealPlace
	if v := meta.Get(sealPlaceKey); v != nil {
		if err := json.Unmarshal(v, &at); err != nil {
			return false, err
		}
	}

	var found []unsealedRow
	size := 0
	add := func(r unsealedRow) bool {
		r.key, r.value = bytes.Clone(r.key), bytes.Clone(r.value)
		found = append(found, r)
		size += len(r.value)
		return size < chunk && len(found) < chunk/64
	}
	for size < chunk && at.Bucket < len(names) {
		if !unsealed(tx.Bucket([]byte(names[at.Bucket])), names[at.Bucket], &at, add) {
			break
		}
		at = sealPlace{Bucket: at.Bucket + 1}
	}

	for _, r := range found {
		if err := r.rows.put(r.bucket, r.key, r.value); err != nil {
			return false, err
		}
	}

	if at.Bucket == len(names) {
		return false, meta.Delete(sealPlaceKey)
	}

	place, err := json.Marshal(at)
	if err != nil {
		return false, err
	}
	return true, meta.Put(sealPlaceKey, place)
}

// unsealed calls add with the rows of a bucket behind a place, and moves the
// place on, until add returns false.
func unsealed(
	b *bbolt.Bucket, name string, at *sealPlace, add func(unsealedRow) bool,
) (all bool) {
	r := rowsOf(name)
	c := b.Cursor()
	k, v := c.First()
	if len(at.Inner) > 0 {
		k, v = c.Seek(at.Inner)
	} else if len(at.Key) > 0 {
		if k, v = c.Seek(at.Key); bytes.Equal(k, at.Key) {
			k, v = c.Next()
		}
	}

	for ; k != nil; k, v = c.Next() {
		if v == nil {
			if !bytes.Equal(at.Inner, k) {
				at.Inner, at.Key = bytes.Clone(k), nil
			}
			if !unsealedInner(b.Bucket(k), r.within(k), at, add) {
				return false
			}
			continue
		}
		if name == "meta" && everPlain(k) {
			continue
		}

		at.Inner, at.Key = nil, bytes.Clone(k)
		if !add(unsealedRow{b, r, k, v}) {
			return false
		}
	}

	return true
}

func unsealedInner(
	b *bbolt.Bucket, r rows, at *sealPlace, add func(unsealedRow) bool,
) (all bool) {
	c := b.Cursor()
	k, v := c.First()
	if len(at.Key) > 0 {
		if k, v = c.Seek(at.Key); bytes.Equal(k, at.Key) {
			k, v = c.Next()
		}
	}

	for ; k != nil; k, v = c.Next() {
		at.Key = bytes.Clone(k)
		if !add(unsealedRow{b, r, k, v}) {
			return false
		}
	}

	return true
}

// lengthenSpent moves the used jti to the minute up to which they are remembered
// since layout 2: later by the longest skew.
func lengthenSpent(tx *bbolt.Tx) error {
	root := tx.Bucket(spentBucket)
	type spentRow struct {
		minute uint32
		key    uint64
		value  []byte
	}

	var all []spentRow
	err := eachMinute(root, spentRows, func(minute uint32, key uint64, v []byte, ok bool) error {
		if ok {
			all = append(all, spentRow{
				minute + uint32(oauth.MaxSkew/time.Minute),
				key,
				bytes.Clone(v),
			})
		}

		return nil
	})
	if err != nil {
		return err
	}

	if err := tx.DeleteBucket(spentBucket); err != nil {
		return err
	}
	if _, err := tx.CreateBucket(spentBucket); err != nil {
		return err
	}

	b := newTrustBatch(tx)
	for _, r := range all {
		m, err := b.minute(spentRows, r.minute)
		if err != nil {
			return err
		}
		if err := m.rows.put(m.Bucket, number(r.key), r.value); err != nil {
			return err
		}
	}

	return nil
}

// indexExpiries fills the bucket "expiries", new with layout 2.
func indexExpiries(tx *bbolt.Tx) error {
	if _, err := tx.CreateBucketIfNotExists(expiriesBucket); err != nil {
		return err
	}

	return tx.Bucket(registrationsBucket).ForEach(func(k, sealed []byte) error {
		v, ok := registrationRows.open(k, sealed)
		r := new(oauth.Registration)
		if !ok || json.Unmarshal(v, r) != nil {
			return nil // whoever needs that row will meet it
		}

		return putExpiry(tx, k, r)
	})
}
