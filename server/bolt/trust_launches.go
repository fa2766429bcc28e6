package bolt

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/binary"
	"time"

	"github.com/go-json-experiment/json"
	"go.etcd.io/bbolt"

	"fhirdest.example/server/oauth"
	"fhirdest.example/server/oauth/stored"
)

// Since layout 4, "launches" has the EHR launches that were not used yet. A key is a
// launch's handle: the minute of expiry (4 bytes) and 12 random bytes, so that those
// that expire first come first. The value is the launch as JSON.
var (
	launchesBucket = []byte("launches")
	launchRows     = rowsOf("launches")
)

// launches implements oauth.LaunchStore in trust.bolt.
type launches struct {
	trust *Trust
}

// makeLaunchBucket brings a file to layout 4.
func makeLaunchBucket(db *bbolt.DB) error {
	return db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(launchesBucket)
		return err
	})
}

// AddLaunch implements oauth.LaunchStore.
func (s *launches) AddLaunch(
	ctx context.Context, l oauth.Launch, now time.Time,
) (h oauth.Handle, err error) {
	value, err := json.Marshal(l)
	if err != nil {
		return h, err
	}

	h = stored.NewLaunchHandle(l.Expires)
	return h, s.trust.commits.Do(ctx, func(b *trustBatch) error {
		if err := s.sweep(b, now); err != nil {
			return err
		}

		bucket := b.writable(launchesBucket)
		c := bucket.Cursor()
		n := 0
		for k, _ := c.First(); k != nil && n < oauth.MaxLaunches; k, _ = c.Next() {
			n++
		}
		if n == oauth.MaxLaunches {
			return oauth.ErrTooManyLaunches
		}

		return launchRows.put(bucket, h[:], value)
	})
}

// Launch implements oauth.LaunchStore.
func (s *launches) Launch(
	ctx context.Context, h oauth.Handle, hash oauth.Hash,
) (l *oauth.Launch, err error) {
	err = s.trust.health.view(ctx, s.trust.db, func(tx *bbolt.Tx) error {
		v, err := s.trust.get(launchRows, tx.Bucket(launchesBucket), h[:], never)
		if v == nil {
			return err
		}

		l = new(oauth.Launch)
		if err := json.Unmarshal(v, l); err != nil {
			return s.trust.damaged(launchesBucket, h[:], err.Error())
		}
		if subtle.ConstantTimeCompare(l.Hash[:], hash[:]) != 1 {
			l = nil
		}
		return nil
	})
	return l, err
}

// useLaunch removes the launch that a grant uses, in the grant's transaction.
func useLaunch(b *trustBatch, h oauth.Handle) error {
	if h == (oauth.Handle{}) {
		return nil
	}

	bucket := b.tx.Bucket(launchesBucket)
	if bucket.Get(h[:]) == nil {
		return oauth.ErrNoLaunch
	}
	b.wrote = true
	return bucket.Delete(h[:])
}

// sweepLaunches removes launches that have expired.
func (s *launches) sweep(b *trustBatch, now time.Time) error {
	limit := binary.BigEndian.AppendUint32(nil, stored.Minute(now))
	c := b.tx.Bucket(launchesBucket).Cursor()
	for k, _ := c.First(); k != nil && bytes.Compare(k[:min(4, len(k))], limit) <= 0; k, _ = c.First() {
		b.wrote = true
		if err := c.Delete(); err != nil {
			return err
		}
	}
	return nil
}
