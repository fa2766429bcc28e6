package bolt

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/go-json-experiment/json"
	"go.etcd.io/bbolt"

	"fhirdest.example/server/oauth/stored"
	"fhirdest.example/server/tiered"
)

// "trips" has the people who are at an identity provider: a bucket per minute of
// expiry with the trip's id and the trip as JSON. "memberships" has our registrations
// by the provider's base URL. Both buckets are made when they are first needed.
var (
	tripsBucket       = []byte("trips")
	membershipsBucket = []byte("memberships")
	tripRows          = rowsOf("trips")
	membershipRows    = rowsOf("memberships")
)

// Trips implements tiered.Store in trust.bolt.
type Trips struct{ *Trust }

// BeginTrip implements tiered.Store.
func (t Trips) BeginTrip(ctx context.Context, trip tiered.Trip, now time.Time) error {
	text, err := json.Marshal(trip)
	if err != nil {
		return err
	}

	minute := stored.Minute(trip.Expires)
	return t.commits.Do(ctx, func(b *trustBatch) error {
		if fullOfTrips(b.tx, minute) {
			return tiered.ErrFull
		}

		root, err := b.tx.CreateBucketIfNotExists(tripsBucket)
		if err != nil {
			return err
		}
		if err := dropMinutes(root, stored.Minute(now)-1); err != nil {
			return err
		}

		clear(b.minutes) // it may have a bucket that was dropped
		m, err := b.minute(tripRows, minute)
		if err != nil {
			return err
		}
		if _, err := m.NextSequence(); err != nil {
			return err
		}

		return m.rows.put(m.Bucket, trip.ID[:], text)
	})
}

// fullOfTrips reports whether as many trips were begun that end in a minute as may be.
// It writes nothing: refusing must be cheap.
func fullOfTrips(tx *bbolt.Tx, minute uint32) bool {
	root := tx.Bucket(tripsBucket)
	if root == nil {
		return false
	}
	m := root.Bucket(binary.BigEndian.AppendUint32(nil, minute))
	return m != nil && m.Sequence() >= tiered.MaxTrips
}

// EndTrip implements tiered.Store.
func (t Trips) EndTrip(
	ctx context.Context, id tiered.TripID, expires time.Time,
) (trip *tiered.Trip, err error) {
	err = t.commits.Do(ctx, func(b *trustBatch) error {
		trip = nil // this may run a second time
		root := b.tx.Bucket(tripsBucket)
		if root == nil {
			return nil
		}

		minute := binary.BigEndian.AppendUint32(nil, stored.Minute(expires))
		m := root.Bucket(minute)
		if m == nil {
			return nil
		}

		v, err := t.get(tripRows.within(minute), m, id[:], never)
		if v == nil {
			return err
		}

		found := &tiered.Trip{}
		if err := json.Unmarshal(v, found); err != nil {
			return t.damaged(tripsBucket, id[:], err.Error())
		}

		found.ID = id
		found.Expires = expires

		b.wrote = true
		if err := m.Delete(id[:]); err != nil {
			return err
		}

		trip = found
		return nil
	})
	if err != nil {
		return nil, err
	}

	return trip, nil
}

// Membership implements tiered.Store.
func (t Trips) Membership(
	ctx context.Context, provider string,
) (m *tiered.Membership, err error) {
	err = t.health.view(ctx, t.db, func(tx *bbolt.Tx) error {
		root := tx.Bucket(membershipsBucket)
		if root == nil {
			return nil
		}

		v, err := t.get(membershipRows, root, []byte(provider), never)
		if v == nil {
			return err
		}

		m = &tiered.Membership{}
		if err := json.Unmarshal(v, m); err != nil {
			return t.damaged(membershipsBucket, []byte(provider), err.Error())
		}
		return nil
	})
	return m, err
}

// Join implements tiered.Store.
func (t Trips) Join(ctx context.Context, m tiered.Membership) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}

	return t.commits.Do(ctx, func(b *trustBatch) error {
		if _, err := b.tx.CreateBucketIfNotExists(membershipsBucket); err != nil {
			return err
		}
		return membershipRows.put(
			b.writable(membershipsBucket),
			[]byte(m.Provider),
			text,
		)
	})
}
