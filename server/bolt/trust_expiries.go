package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"time"

	"go.etcd.io/bbolt"

	"fhirdest.example/server/oauth"
)

// "expiries" has the registrations by when their certificate expires: that second
// (8 bytes) and the registration's key. So those that expire soon are found without
// reading the others.
var (
	expiriesBucket = []byte("expiries")
	expiryRows     = rowsOf("expiries")
)

func expiryKey(key []byte, r *oauth.Registration) []byte {
	at := max(r.LeafExpires().Unix(), 0)
	return append(binary.BigEndian.AppendUint64(nil, uint64(at)), key...)
}

func putExpiry(tx *bbolt.Tx, key []byte, r *oauth.Registration) error {
	if r.LeafExpires().IsZero() {
		return nil
	}
	return expiryRows.put(tx.Bucket(expiriesBucket), expiryKey(key, r), nil)
}

func deleteExpiry(tx *bbolt.Tx, key []byte, r *oauth.Registration) error {
	return tx.Bucket(expiriesBucket).Delete(expiryKey(key, r))
}

// Expiring calls visit for each registration whose certificate expires before a
// time, the earliest first, until it returns false. A registration that cannot be
// read ends it with an error.
func (t *Trust) Expiring(
	ctx context.Context, before time.Time, visit func(*oauth.Registration) bool,
) error {
	return t.eachExpiring(ctx, before, func(tx *bbolt.Tx, key []byte) (bool, error) {
		r, err := t.mustRegistration(tx, key)
		return err == nil && visit(r), err
	})
}

// CountExpiring returns how many registrations have a certificate that expires
// before a time.
func (t *Trust) CountExpiring(ctx context.Context, before time.Time) (n int, err error) {
	err = t.eachExpiring(ctx, before, func(*bbolt.Tx, []byte) (bool, error) {
		n++
		return true, nil
	})
	return n, err
}

func (t *Trust) eachExpiring(
	ctx context.Context, before time.Time, visit func(tx *bbolt.Tx, key []byte) (bool, error),
) error {
	to := binary.BigEndian.AppendUint64(nil, uint64(max(before.Unix(), 0)))
	return t.health.view(ctx, t.db, func(tx *bbolt.Tx) error {
		c := tx.Bucket(expiriesBucket).Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			if !expiryRows.sound(k, v) || len(k) < 8 {
				return t.damaged(expiriesBucket, k, "does not have its checksum")
			}
			if bytes.Compare(k[:8], to) >= 0 {
				break
			}
			if more, err := visit(tx, k[8:]); err != nil || !more {
				return err
			}
		}

		return nil
	})
}
