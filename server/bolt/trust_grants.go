package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"go.etcd.io/bbolt"

	"fhirdest.example/server/oauth"
	"fhirdest.example/server/oauth/stored"
)

// Since layout 3, "grants" has what people granted: the grant's identifier (16
// bytes) and the grant as JSON. Two indexes follow it in the same transaction:
// "subjects" has the person's subject, NUL and the identifier; "grantExpiries" the
// minute of expiry (4 bytes) and the identifier.
var (
	grantsBucket        = []byte("grants")
	subjectsBucket      = []byte("subjects")
	grantExpiriesBucket = []byte("grantExpiries")

	grantRows       = rowsOf("grants")
	subjectRows     = rowsOf("subjects")
	grantExpiryRows = rowsOf("grantExpiries")
)

// maxSweptGrants bounds how many expired grants one transaction removes.
const maxSweptGrants = 1000

// grants implements oauth.GrantStore in trust.bolt.
type grants struct {
	trust *Trust
	cache *cache[oauth.GrantID, oauth.Grant]
}

// makeGrantBuckets brings a file to layout 3.
func makeGrantBuckets(db *bbolt.DB) error {
	return db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{grantsBucket, subjectsBucket, grantExpiriesBucket} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
}

func subjectKey(subject string, key []byte) []byte {
	return append(append([]byte(subject), 0), key...)
}

func grantExpiryKey(g *oauth.Grant, key []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, stored.Minute(g.Expires)), key...)
}

// Approve implements oauth.GrantStore.
func (s *grants) Approve(ctx context.Context, g oauth.Grant, seen *oauth.Registration) error {
	key := stored.GrantKey(g.ID)
	if key == nil || bytes.IndexByte([]byte(g.Person.Subject), 0) >= 0 {
		return fmt.Errorf("store: grant %q of %q cannot be stored", g.ID, g.Person.Subject)
	}

	return s.trust.commits.Do(ctx, func(b *trustBatch) error {
		r, err := s.trust.registration(b, g.ClientID)
		if err != nil {
			return err
		}
		if r == nil || r.Statement != seen.Statement || r.Epoch != seen.Epoch {
			return oauth.ErrNoRegistration
		}
		if err := useLaunch(b, g.Uses); err != nil {
			return err
		}

		if err := s.makeRoom(b, &g); err != nil {
			return err
		}
		return s.put(b, key, nil, &g)
	})
}

// makeRoom removes the grant that was used longest ago of those that a person has
// given a client, when there are as many as there may be.
func (s *grants) makeRoom(b *trustBatch, next *oauth.Grant) error {
	n := 0
	var oldestKey []byte
	var oldest *oauth.Grant
	err := s.each(b.tx, next.Person.Subject, func(key []byte, g *oauth.Grant) error {
		if g.ClientID != next.ClientID {
			return nil
		}
		if n++; oldest == nil || stored.LastUsed(g).Before(stored.LastUsed(oldest)) {
			oldestKey = key
			oldest = g
		}
		return nil
	})
	if err != nil || n < oauth.MaxGrants {
		return err
	}

	return s.remove(b, oldestKey, oldest)
}

// Grant implements oauth.GrantStore.
func (s *grants) Grant(ctx context.Context, id oauth.GrantID) (g *oauth.Grant, err error) {
	key := stored.GrantKey(id)
	if key == nil {
		return nil, nil
	}
	if g, known := s.cache.get(id); known {
		return g, nil
	}

	epoch := s.cache.begin()
	err = s.trust.health.view(ctx, s.trust.db, func(tx *bbolt.Tx) error {
		g, err = s.read(tx, key)
		return err
	})
	if g != nil && err == nil {
		s.cache.put(epoch, id, g)
	}

	return g, err
}

// Grants implements oauth.GrantStore.
func (s *grants) Grants(ctx context.Context, subject string) (all []*oauth.Grant, err error) {
	err = s.trust.health.view(ctx, s.trust.db, func(tx *bbolt.Tx) error {
		return s.each(tx, subject, func(_ []byte, g *oauth.Grant) error {
			if !g.Code.Redeemed.IsZero() {
				all = append(all, g)
			}
			return nil
		})
	})
	slices.SortStableFunc(
		all,
		func(x, y *oauth.Grant) int {
			return x.Created.Compare(y.Created)
		},
	)
	return all, err
}

// each calls visit with each grant of a person.
func (s *grants) each(
	tx *bbolt.Tx, subject string, visit func(key []byte, g *oauth.Grant) error,
) error {
	prefix := subjectKey(subject, nil)
	c := tx.Bucket(subjectsBucket).Cursor()
	var keys [][]byte
	first, _ := c.Seek(prefix)
	before, sealed := c.Prev()
	if first == nil {
		before, sealed = c.Last()
	}

	k, v := c.Seek(prefix)
	for ; bytes.HasPrefix(k, prefix) && subjectRows.sound(k, v); k, v = c.Next() {
		keys = append(keys, bytes.Clone(k[len(prefix):]))
	}

	// A key whose bytes changed is where the true one would be, or just before.
	if !subjectRows.sound(k, v) {
		return s.trust.damaged(subjectsBucket, k, "does not have its checksum")
	}
	if !subjectRows.sound(before, sealed) {
		return s.trust.damaged(subjectsBucket, before, "does not have its checksum")
	}

	for _, key := range keys {
		g, err := s.read(tx, key)
		if err == nil && g == nil {
			err = s.trust.damaged(
				grantsBucket,
				key,
				"is not there, though subjects names it",
			)
		}
		if err == nil {
			err = visit(key, g)
		}
		if err != nil {
			return err
		}
	}

	return nil
}

// Exchange implements oauth.GrantStore.
func (s *grants) Exchange(
	ctx context.Context, spend oauth.Spend, id oauth.GrantID, decide func(*oauth.Grant) oauth.Change,
) (h oauth.Handle, err error) {
	key := stored.GrantKey(id)
	err = s.trust.spend(ctx, spend, func(b *trustBatch) error {
		var g *oauth.Grant
		if key != nil {
			if g, err = s.read(b.tx, key); err != nil {
				return err
			}
		}

		h, err = s.apply(b, key, g, decide(g))
		return err
	})
	if err != nil {
		return oauth.Handle{}, err
	}

	return h, nil
}

// apply does what was decided about a grant.
func (s *grants) apply(
	b *trustBatch, key []byte, g *oauth.Grant, c oauth.Change,
) (h oauth.Handle, err error) {
	if c.End && g != nil {
		if err := s.remove(b, key, g); err != nil {
			return h, err
		}
	}

	if c.Err != nil {
		return h, &spentRefusal{c.Err}
	}

	if c.Token != nil {
		i, err := s.trust.issuing(c.Token)
		if err != nil {
			return h, err
		}
		if err := i.put(b); err != nil {
			return h, err
		}
		h = i.handle
	}

	if c.Drop != nil {
		if err := s.trust.dropToken(b, *c.Drop); err != nil {
			return h, err
		}
	}

	if c.Grant == nil || g == nil || c.End {
		return h, nil
	}

	return h, s.put(b, key, g, stored.After(c, h))
}

// Withdraw implements oauth.GrantStore.
func (s *grants) Withdraw(ctx context.Context, id oauth.GrantID, subject string) error {
	return s.change(ctx, id, subject, func(b *trustBatch, key []byte, g *oauth.Grant) error {
		if g == nil {
			return nil
		}
		return s.remove(b, key, g)
	})
}

// Narrow implements oauth.GrantStore.
func (s *grants) Narrow(
	ctx context.Context, id oauth.GrantID, subject string, scope []string,
) error {
	return s.change(ctx, id, subject, func(b *trustBatch, key []byte, g *oauth.Grant) error {
		if g == nil {
			return oauth.ErrNoGrant
		}

		next := *g
		next.Scope = scope
		next.Revision++
		return s.put(b, key, g, &next)
	})
}

// change reads a grant in a transaction and has it changed; a grant of another
// person counts as none.
func (s *grants) change(
	ctx context.Context, id oauth.GrantID, subject string,
	apply func(b *trustBatch, key []byte, g *oauth.Grant) error,
) error {
	key := stored.GrantKey(id)
	return s.trust.commits.Do(ctx, func(b *trustBatch) error {
		var g *oauth.Grant
		if key != nil {
			var err error
			if g, err = s.read(b.tx, key); err != nil {
				return err
			}
		}

		if g != nil && g.Person.Subject != subject {
			g = nil
		}
		return apply(b, key, g)
	})
}

// EndSession implements oauth.GrantStore.
func (s *grants) EndSession(ctx context.Context, subject, session string) error {
	return s.trust.commits.Do(ctx, func(b *trustBatch) error {
		return s.each(b.tx, subject, func(key []byte, g *oauth.Grant) error {
			if session == "" || g.Session != session {
				return nil
			}
			return s.remove(b, key, g)
		})
	})
}

func (s *grants) read(tx *bbolt.Tx, key []byte) (*oauth.Grant, error) {
	v, err := s.trust.get(grantRows, tx.Bucket(grantsBucket), key, never)
	if v == nil {
		return nil, err
	}

	g := new(oauth.Grant)
	if err := json.Unmarshal(v, g); err != nil {
		return nil, s.trust.damaged(grantsBucket, key, err.Error())
	}
	return g, nil
}

// put stores a grant in the place of old, which is nil for a new one.
func (s *grants) put(b *trustBatch, key []byte, old, g *oauth.Grant) error {
	v, err := json.Marshal(g)
	if err != nil {
		return err
	}

	expiries := b.writable(grantExpiriesBucket)
	if old != nil {
		if err := expiries.Delete(grantExpiryKey(old, key)); err != nil {
			return err
		}
	}

	s.touch(b, g.ID)
	if err := grantExpiryRows.put(expiries, grantExpiryKey(g, key), nil); err != nil {
		return err
	}
	if err := subjectRows.put(b.tx.Bucket(subjectsBucket), subjectKey(g.Person.Subject, key), nil); err != nil {
		return err
	}

	return grantRows.put(b.tx.Bucket(grantsBucket), key, v)
}

func (s *grants) remove(b *trustBatch, key []byte, g *oauth.Grant) error {
	s.touch(b, g.ID)
	for bucket, k := range map[string][]byte{
		"grants":        key,
		"subjects":      subjectKey(g.Person.Subject, key),
		"grantExpiries": grantExpiryKey(g, key),
	} {
		if err := b.writable([]byte(bucket)).Delete(k); err != nil {
			return err
		}
	}

	return nil
}

// touch notes that a transaction changes a grant.
func (s *grants) touch(b *trustBatch, id oauth.GrantID) {
	b.after = append(b.after, func() {
		s.cache.forget(id)
	})
}

// sweep removes grants that have expired, the earliest first. Damaged rows are
// reported and left: they must not keep the other sweeping from going on.
func (s *grants) sweep(b *trustBatch, now time.Time) error {
	limit := binary.BigEndian.AppendUint32(nil, stored.Minute(now))
	c := b.tx.Bucket(grantExpiriesBucket).Cursor()
	var keys [][]byte
	for k, v := c.First(); k != nil && len(keys) < maxSweptGrants; k, v = c.Next() {
		if !grantExpiryRows.sound(k, v) || len(k) != 20 {
			_ = s.trust.damaged(grantExpiriesBucket, k, "does not have its checksum") // which reports it
			continue
		}
		if bytes.Compare(k[:4], limit) >= 0 {
			break
		}
		keys = append(keys, bytes.Clone(k))
	}

	for _, k := range keys {
		g, err := s.read(b.tx, k[4:])
		switch {
		case err != nil: // it has been reported
			continue
		case g == nil:
			err = b.writable(grantExpiriesBucket).Delete(k)
		default:
			err = s.remove(b, k[4:], g)
		}
		if err != nil {
			return err
		}
	}

	return nil
}
