package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"go.etcd.io/bbolt"

	"fhirdest.example/server/oauth"
	"fhirdest.example/server/oauth/stored"
	"fhirdest.example/server/shared"
	"fhirdest.example/udap/trace"
)

// Trust is trust.bolt: registrations, used jti and tokens. It implements
// oauth.Store.
//
// Layout: "registrations" has community NUL client URI and the registration as
// JSON; "clients" has client_id and that key; "jti" and "tokens" have a bucket
// per minute of expiry with records in the order in which they came, so that a
// commit appends to a few pages and sweeping is dropping a bucket.
type Trust struct {
	*grants
	*launches
	people  *peopleStore
	db      *bbolt.DB
	commits *shared.Committer[*trustBatch]
	health  *health
	ahead   atomic.Bool // requests are refused because the clock was ahead and was set back
	spent   *spentIndex
	clients *cache[trace.ClientID, oauth.Registration]
	tokens  *cache[tokenKey, oauth.Token]
	handles stored.Handles

	// Of the committer alone.
	nextSpent, nextToken uint64
	unswept              uint32 // a floor up to which sweeping failed
}

// Bucket and key names of trust.bolt.
var (
	registrationsBucket = []byte("registrations")
	clientsBucket       = []byte("clients")
	spentBucket         = []byte("jti")
	tokensBucket        = []byte("tokens")
	listsBucket         = []byte("lists")
	handleKey           = []byte("handleKey")
	floorKey            = []byte("floor")
	restoredKey         = []byte("restored")

	metaRows         = rowsOf("meta")
	registrationRows = rowsOf("registrations")
	clientRows       = rowsOf("clients")
	spentRows        = rowsOf("jti")
	tokenRows        = rowsOf("tokens")
	listRows         = rowsOf("lists")
	decisionRows     = rowsOf("decisions")
)

// sealedTrust are the buckets whose rows got checksums with layout 2.
var sealedTrust = []string{
	"registrations", "clients", "jti", "tokens", "lists", "decisions", "meta",
}

func trustSchema() Schema {
	return Schema{
		Kind:    "trust",
		Version: 5,
		Buckets: []string{
			"registrations", "clients", "jti", "tokens", "lists", "decisions", "expiries",
			"grants", "subjects", "grantExpiries", "launches", "sessions", "consents",
		},
		Steps: map[uint64]func(*bbolt.DB) error{
			1: func(db *bbolt.DB) error { // to rows with checksums, jti remembered for MaxSkew, and expiries
				if err := sealBuckets(db, sealedTrust); err != nil {
					return err
				}

				return db.Update(func(tx *bbolt.Tx) error {
					return errors.Join(lengthenSpent(tx), indexExpiries(tx))
				})
			},
			2: makeGrantBuckets,
			3: makeLaunchBucket,
			4: makePeopleBuckets,
		},
	}
}

// OpenTrust opens trust.bolt, makes it if there is none, and reads the live jti
// into memory.
func OpenTrust(path string, o Options) (*Trust, error) {
	// Dropping a minute's bucket frees many pages: writing the list of them
	// at every commit would cost more than the commit.
	o.NoFreelistSync = true
	db, err := Open(path, trustSchema(), o)
	if err != nil {
		return nil, err
	}

	t := &Trust{
		db:      db,
		health:  &health{},
		clients: newCache[trace.ClientID, oauth.Registration](),
		tokens:  newCache[tokenKey, oauth.Token](),
	}
	t.launches = &launches{t}
	t.people = &peopleStore{trust: t}
	t.grants = &grants{t, newCache[oauth.GrantID, oauth.Grant]()}
	if err := t.load(); err != nil {
		return nil, errors.Join(err, db.Close())
	}

	if o.MaxBatch == 0 {
		o.MaxBatch = defaultMaxBatch
	}
	t.commits = newCommitter(db, o, t.health, newTrustBatch)
	return t, nil
}

func (t *Trust) load() error {
	if err := loadHandles(t); err != nil {
		return err
	}

	return t.health.view(context.Background(), t.db, func(tx *bbolt.Tx) error {
		meta := tx.Bucket(metaBucket)
		floor, err := t.get(metaRows, meta, floorKey, never)
		if err != nil {
			return err
		}

		restored, err := t.get(metaRows, meta, restoredKey, never)
		if err != nil {
			return err
		}

		t.spent = newSpentIndex(floorOf(floor), restoredAt(restored))
		if t.nextSpent, err = t.loadSpent(tx.Bucket(spentBucket)); err != nil {
			return err
		}

		t.nextToken = lastKey(tx.Bucket(tokensBucket))
		return nil
	})
}

// lastKey returns the highest sequence number of any minute.
func lastKey(root *bbolt.Bucket) (last uint64) {
	_ = root.ForEachBucket(func(name []byte) error { // the visitor returns no error
		if k, _ := root.Bucket(name).Cursor().Last(); len(k) == 8 {
			last = max(last, binary.BigEndian.Uint64(k))
		}
		return nil
	})
	return last
}

// Close commits what is under way and closes the file.
func (t *Trust) Close() error {
	t.commits.Close()
	err := t.db.Close()
	t.tokens.forgetAll() // a file that is closed answers nothing
	t.grants.cache.forgetAll()
	return err
}

// Dump writes the whole file as text, for tests.
func (t *Trust) Dump(w io.Writer) error { return Dump(t.db, w) }

// LiveJTI returns how many used jti are remembered.
func (t *Trust) LiveJTI() int { return t.spent.live() }

// Client implements oauth.Store.
func (t *Trust) Client(ctx context.Context, id trace.ClientID) (*oauth.Registration, error) {
	if r, known := t.clients.get(id); known {
		return r, nil
	}

	epoch := t.clients.begin()
	var r *oauth.Registration
	err := t.health.view(ctx, t.db, func(tx *bbolt.Tx) (err error) {
		key, err := t.get(clientRows, tx.Bucket(clientsBucket), []byte(id), never)
		if key == nil {
			return err
		}

		r, err = t.mustRegistration(tx, key)
		return err
	})
	if err != nil {
		return nil, err
	}

	if r != nil {
		own := trace.ClientID(strings.Clone(string(id))) // id can be a part of a long request
		t.clients.put(epoch, own, r)
	}
	return r, nil
}

func registrationKey(community trace.CommunityURI, client trace.ClientURI) []byte {
	k := append([]byte(community), 0)
	return append(k, client...)
}

func (t *Trust) readRegistration(tx *bbolt.Tx, key []byte) (*oauth.Registration, error) {
	v, err := t.get(registrationRows, tx.Bucket(registrationsBucket), key, t.health.isRegistration(tx))
	if v == nil {
		return nil, err
	}

	r := new(oauth.Registration)
	if err := json.Unmarshal(v, r); err != nil {
		return nil, t.damaged(registrationsBucket, key, err.Error())
	}
	return r, nil
}

// mustRegistration reads the registration that another row names.
func (t *Trust) mustRegistration(tx *bbolt.Tx, key []byte) (*oauth.Registration, error) {
	r, err := t.readRegistration(tx, key)
	if err == nil && r == nil {
		err = t.damaged(registrationsBucket, key, "is not there, though clients names it")
	}
	return r, err
}

// get returns a row's value, nil when there is none; see rows.stray for genuine.
func (t *Trust) get(r rows, b *bbolt.Bucket, key []byte, genuine func([]byte) bool) ([]byte, error) {
	value, ok := r.get(b, key)
	bad := key
	if ok && value == nil {
		bad = r.stray(b, key, genuine)
		ok = bad == nil
	}
	if !ok {
		return nil, t.damaged([]byte(r.name), bad, "does not have its checksum")
	}

	return value, nil
}

// isRegistration reports whether a key of "registrations" is named by "clients".
func (h *health) isRegistration(tx *bbolt.Tx) func(key []byte) bool {
	return func(key []byte) bool {
		return h.genuine(key, func() bool {
			c := tx.Bucket(clientsBucket).Cursor()
			for k, v := c.First(); k != nil; k, v = c.Next() {
				if v, ok := clientRows.open(k, v); ok && bytes.Equal(v, key) {
					return true
				}
			}

			return false
		})
	}
}

// spend reserves a jti and commits it together with an effect. When the effect
// fails, nothing of it is stored and the jti is free again, unless its error is
// a *spentRefusal; when the commit fails, nobody knows what reached the disk,
// and the jti stays reserved.
func (t *Trust) spend(ctx context.Context, s oauth.Spend, effect func(*trustBatch) error) error {
	u := &spending{effect: effectFunc(effect)}
	return u.commit(ctx, t, s)
}

// commit is Trust.spend for the effect that u has.
func (u *spending) commit(ctx context.Context, t *Trust, s oauth.Spend) error {
	key := stored.JTIOf(s)
	if err := t.spent.reserve(key, s); err != nil {
		if errors.Is(err, oauth.ErrSwept) {
			t.ahead.Store(true)
		}
		return err
	}

	if t.ahead.Load() {
		t.ahead.Store(false)
	}

	u.trust, u.key, u.spend = t, key, s
	u.proof = t.spent.reserveProof(s.Proof)
	err := t.commits.Do(ctx, u.apply)
	switch {
	case err == nil && u.refused != nil:
		return u.refused.err
	case err != nil && !errors.Is(err, oauth.ErrUnknown):
		t.spent.release(key, s)
		t.spent.releaseProof(u.proof)
	}

	return err
}

// spending is the use of a reserved jti, and what is stored with it.
type spending struct {
	trust   *Trust
	key     stored.JTI
	spend   oauth.Spend
	proof   proofUse
	effect  effect
	refused *spentRefusal // by the effect or for the proof; the jti is used up all the same
}

// effect is what a transaction does beside the use of a jti.
type effect interface{ put(b *trustBatch) error }

type effectFunc func(*trustBatch) error

func (f effectFunc) put(b *trustBatch) error { return f(b) }

// apply stores it in a transaction.
func (u *spending) apply(b *trustBatch) error {
	u.refused = nil
	if u.spend.Expired() {
		return oauth.ErrExpired
	}
	if err := u.trust.sweep(b, u.spend.Now); err != nil {
		return err
	}

	if err := u.proof.check(); err != nil {
		u.refused = &spentRefusal{&oauth.ProofError{Err: err}}
	} else if err := u.effect.put(b); err != nil && !errors.As(err, &u.refused) {
		return err
	}

	return errors.Join(u.trust.putSpent(b, u.key, u.spend), u.proof.put(u.trust, b))
}

// damaged is the error for a row of this file.
func (t *Trust) damaged(bucket, key []byte, problem string) error {
	return t.health.found(&Damaged{
		File:    t.db.Path(),
		Bucket:  string(bucket),
		Key:     printable(key),
		Problem: problem,
	})
}

// Health returns what an operator must know of the file: damaged rows that were
// met, and why the last commit failed.
func (t *Trust) Health() []string {
	all := t.health.alarms()
	if t.ahead.Load() {
		all = append(all, stored.ClockAlarm(t.spent.floorNow()))
	}
	return all
}

func (t *Trust) putSpent(b *trustBatch, key stored.JTI, s oauth.Spend) error {
	m, err := b.minute(spentRows, stored.MinuteSpent(s))
	if err != nil {
		return err
	}
	t.nextSpent++
	return m.rows.put(m.Bucket, b.number(t.nextSpent), spentRow(key, s))
}

// Spend implements oauth.Store.
func (t *Trust) Spend(ctx context.Context, s oauth.Spend) error {
	return t.spend(ctx, s, func(*trustBatch) error { return nil })
}

// Register implements oauth.Store.
func (t *Trust) Register(
	ctx context.Context, s oauth.Spend, next oauth.Registration,
) (stored, previous *oauth.Registration, err error) {
	key := registrationKey(next.Community, next.Client)
	err = t.spend(ctx, s, func(b *trustBatch) error {
		var err error
		if previous, err = t.readRegistration(b.tx, key); err != nil {
			return err
		}

		record := next
		if previous != nil {
			if err := deleteExpiry(b.tx, key, previous); err != nil {
				return err
			}
			record = previous.Succeed(next)
		} else if other, err := t.get(clientRows, b.tx.Bucket(clientsBucket), []byte(next.ID),
			never); err != nil {
			return err
		} else if other != nil {
			return fmt.Errorf("client_id %s exists", next.ID) // 160 random bits met twice
		}

		stored = &record
		return t.putRegistration(b, key, stored)
	})
	if err != nil {
		return nil, nil, err
	}

	return stored, previous, nil
}

func (t *Trust) putRegistration(b *trustBatch, key []byte, r *oauth.Registration) error {
	v, err := json.Marshal(r)
	if err != nil {
		return err
	}

	t.touch(b, r.ID)
	return errors.Join(
		putExpiry(b.tx, key, r),
		registrationRows.put(b.writable(registrationsBucket), key, v),
		clientRows.put(b.writable(clientsBucket), []byte(r.ID), bytes.Clone(key)))
}

// touch notes that a transaction changes a client.
func (t *Trust) touch(b *trustBatch, id trace.ClientID) {
	b.touched[id] = true
	b.after = append(b.after, func() { t.clients.forget(id) })
}

// Cancel implements oauth.Store.
func (t *Trust) Cancel(
	ctx context.Context, s oauth.Spend, community trace.CommunityURI, client trace.ClientURI,
) (*oauth.Registration, error) {
	var old *oauth.Registration
	key := registrationKey(community, client)
	err := t.spend(ctx, s, func(b *trustBatch) error {
		var err error
		if old, err = t.readRegistration(b.tx, key); err != nil {
			return err
		}
		if old == nil {
			return oauth.ErrNoRegistration
		}

		t.touch(b, old.ID)
		return errors.Join(
			deleteExpiry(b.tx, key, old),
			b.writable(registrationsBucket).Delete(key),
			b.writable(clientsBucket).Delete([]byte(old.ID)))
	})
	if err != nil {
		return nil, err
	}

	return old, nil
}

// registration returns a client's registration as a transaction sees it, or nil.
func (t *Trust) registration(b *trustBatch, id trace.ClientID) (*oauth.Registration, error) {
	// Only this goroutine changes registrations: what is cached is current
	// unless this very transaction touches it.
	if r, known := t.clients.get(id); known && !b.touched[id] {
		return r, nil
	}

	key, err := t.get(clientRows, b.tx.Bucket(clientsBucket), []byte(id), never)
	if key == nil {
		return nil, err
	}
	return t.mustRegistration(b.tx, key)
}

// sweep drops the minutes that are over, once a minute, in the transaction of
// whoever comes first. The floor goes up with it, on disk too: a jti that ends
// below it is refused, so that setting the clock back brings nothing to life.
func (t *Trust) sweep(b *trustBatch, now time.Time) error {
	if b.swept || now.Unix() < 60 {
		return nil
	}

	b.swept = true
	floor := stored.Minute(now) - 1
	if floor <= t.spent.floorNow() || floor == t.unswept {
		return nil
	}

	for _, root := range [][]byte{spentBucket, tokensBucket} {
		if err := t.health.guard(t.db.Path(), func() error {
			return dropMinutes(b.tx.Bucket(root), floor)
		}); err != nil {
			// Whoever came first must not fail for it: the committer does his
			// work again, without sweeping.
			b.wrote, t.unswept = true, floor
			return t.damaged(root, nil, "cannot be swept: "+err.Error())
		}
	}

	if err := t.health.guard(t.db.Path(), func() error {
		return errors.Join(t.grants.sweep(b, now), t.launches.sweep(b, now))
	}); err != nil {
		b.wrote, t.unswept = true, floor
		return err
	}

	clear(b.minutes)
	b.after = append(b.after, func() {
		t.spent.forget(floor)
		t.tokens.forgetAll()
	})

	return metaRows.put(b.tx.Bucket(metaBucket), floorKey, binary.BigEndian.AppendUint32(nil, floor))
}

func dropMinutes(root *bbolt.Bucket, floor uint32) error {
	var over [][]byte
	err := root.ForEachBucket(func(name []byte) error {
		if len(name) == 4 && binary.BigEndian.Uint32(name) <= floor {
			over = append(over, bytes.Clone(name))
		}
		return nil
	})

	for _, name := range over {
		err = errors.Join(err, root.DeleteBucket(name))
	}

	return err
}
