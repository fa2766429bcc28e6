package bolt

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/go-json-experiment/json"
	"go.etcd.io/bbolt"

	"fhirdest.example/server/oauth"
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
	db      *bbolt.DB
	commits *committer
	spent   *spentIndex
	clients *cache[trace.ClientID, oauth.Registration]
	tokens  *cache[tokenKey, oauth.Token]
	handles cipher.Block // hides minute and sequence number in token handles

	// Of the committer alone.
	nextSpent, nextToken uint64
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
)

func trustSchema() Schema {
	return Schema{
		Kind:    "trust",
		Version: 1,
		Buckets: []string{"registrations", "clients", "jti", "tokens", "lists", "decisions"},
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
		clients: newCache[trace.ClientID, oauth.Registration](),
		tokens:  newCache[tokenKey, oauth.Token](),
	}
	if err := t.load(); err != nil {
		return nil, errors.Join(err, db.Close())
	}

	t.commits = newCommitter(db, o.MaxBatch)
	return t, nil
}

func (t *Trust) load() error {
	if err := t.loadHandleKey(); err != nil {
		return err
	}

	return t.db.View(func(tx *bbolt.Tx) error {
		var floor uint32
		if v := tx.Bucket(metaBucket).Get(floorKey); len(v) == 4 {
			floor = binary.BigEndian.Uint32(v)
		}
		t.spent = newSpentIndex(floor, restoredAt(tx.Bucket(metaBucket).Get(restoredKey)))
		var err error
		if t.nextSpent, err = t.spent.load(tx.Bucket(spentBucket)); err != nil {
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

// loadHandleKey reads the key that hides where a token is kept, and makes one
// for a new file. It protects no token: their secret halves do.
func (t *Trust) loadHandleKey() error {
	var key []byte
	err := t.db.View(func(tx *bbolt.Tx) error {
		key = bytes.Clone(tx.Bucket(metaBucket).Get(handleKey))
		return nil
	})
	if err == nil && key == nil {
		key = make([]byte, 16)
		_, _ = rand.Read(key) // never fails (Go 1.24)
		err = t.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put(handleKey, key) })
	}

	if err != nil {
		return fmt.Errorf("store: %w", err)
	}

	t.handles, err = aes.NewCipher(key)
	return err
}

// Close commits what is under way and closes the file.
func (t *Trust) Close() error {
	t.commits.close()
	err := t.db.Close()
	t.tokens.forgetAll() // nothing is told of a file that is closed
	return err
}

// Dump writes the whole file as text, for tests.
func (t *Trust) Dump(w io.Writer) error { return Dump(t.db, w) }

// LiveJTI returns how many used jti are remembered.
func (t *Trust) LiveJTI() int { return t.spent.live() }

// Client implements oauth.Store.
func (t *Trust) Client(_ context.Context, id trace.ClientID) (*oauth.Registration, error) {
	if r, known := t.clients.get(id); known {
		return r, nil
	}

	epoch := t.clients.begin()
	var r *oauth.Registration
	err := t.db.View(func(tx *bbolt.Tx) (err error) {
		if key := tx.Bucket(clientsBucket).Get([]byte(id)); key != nil {
			r, err = readRegistration(tx, key)
		}
		return err
	})
	if err != nil {
		return nil, err
	}

	if r != nil {
		t.clients.put(epoch, id, r)
	}
	return r, nil
}

func registrationKey(community trace.CommunityURI, client trace.ClientURI) []byte {
	k := append([]byte(community), 0)
	return append(k, client...)
}

func readRegistration(tx *bbolt.Tx, key []byte) (*oauth.Registration, error) {
	v := tx.Bucket(registrationsBucket).Get(key)
	if v == nil {
		return nil, nil
	}
	r := new(oauth.Registration)
	if err := json.Unmarshal(v, r); err != nil {
		return nil, fmt.Errorf("store: registration %q: %w", key, err)
	}
	return r, nil
}

// spend reserves a jti, commits it together with an effect, and takes the
// reservation back if the effect was refused. After a failed commit the jti
// stays reserved.
func (t *Trust) spend(s oauth.Spend, apply func(*batch) error) error {
	key := spentKeyOf(s)
	if err := t.spent.reserve(key, s); err != nil {
		return err
	}

	err := t.commits.do(func(b *batch) error {
		if s.Expired() {
			return &refusal{err: oauth.ErrExpired}
		}
		if err := t.sweep(b, s.Now); err != nil {
			return err
		}

		answer := apply(b)
		if r, ok := answer.(*refusal); answer != nil && !(ok && r.spends) {
			return answer
		}
		if err := t.putSpent(b, key, s); err != nil {
			return err
		}

		return answer
	})
	if r, ok := err.(*refusal); ok {
		if !r.spends {
			t.spent.release(key, s.Until)
		}
		return r.err
	}

	return err
}

func (t *Trust) putSpent(b *batch, key spentKey, s oauth.Spend) error {
	m, err := b.minute(spentBucket, minuteOf(s.Until))
	if err != nil {
		return err
	}
	t.nextSpent++
	return m.Put(binary.BigEndian.AppendUint64(nil, t.nextSpent), key.record(s))
}

// Spend implements oauth.Store.
func (t *Trust) Spend(_ context.Context, s oauth.Spend) error {
	return t.spend(s, func(*batch) error { return nil })
}

// Register implements oauth.Store.
func (t *Trust) Register(
	_ context.Context, s oauth.Spend, next oauth.Registration,
) (stored, previous *oauth.Registration, err error) {
	key := registrationKey(next.Community, next.Client)
	err = t.spend(s, func(b *batch) error {
		var err error
		if previous, err = readRegistration(b.tx, key); err != nil {
			return err
		}

		record := next
		if previous != nil {
			record = previous.Succeed(next)
		} else if b.tx.Bucket(clientsBucket).Get([]byte(next.ID)) != nil {
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

func (t *Trust) putRegistration(b *batch, key []byte, r *oauth.Registration) error {
	v, err := json.Marshal(r)
	if err != nil {
		return err
	}
	t.touch(b, r.ID)
	return errors.Join(
		b.tx.Bucket(registrationsBucket).Put(key, v),
		b.tx.Bucket(clientsBucket).Put([]byte(r.ID), key))
}

// touch notes that a transaction changes a client.
func (t *Trust) touch(b *batch, id trace.ClientID) {
	b.changed[id] = true
	b.after = append(b.after, func() { t.clients.forget(id) })
}

// Cancel implements oauth.Store.
func (t *Trust) Cancel(
	_ context.Context, s oauth.Spend, community trace.CommunityURI, client trace.ClientURI,
) (*oauth.Registration, error) {
	var old *oauth.Registration
	key := registrationKey(community, client)
	err := t.spend(s, func(b *batch) error {
		var err error
		if old, err = readRegistration(b.tx, key); err != nil {
			return err
		}
		if old == nil {
			return &refusal{err: oauth.ErrNoRegistration}
		}

		t.touch(b, old.ID)
		return errors.Join(
			b.tx.Bucket(registrationsBucket).Delete(key),
			b.tx.Bucket(clientsBucket).Delete([]byte(old.ID)))
	})
	if err != nil {
		return nil, err
	}

	return old, nil
}

// Registrations calls visit for each registration, in the order of community
// and client URI, until it returns false.
func (t *Trust) Registrations(_ context.Context, visit func(*oauth.Registration) bool) error {
	var all []*oauth.Registration
	err := t.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(registrationsBucket).ForEach(func(k, _ []byte) error {
			r, err := readRegistration(tx, k)
			all = append(all, r)
			return err
		})
	})

	for _, r := range all {
		if err != nil || !visit(r) {
			break
		}
	}

	return err
}

// Issue implements oauth.Store.
func (t *Trust) Issue(_ context.Context, s oauth.Spend, token oauth.Token) (h oauth.Handle, err error) {
	body, err := json.Marshal(&token)
	if err != nil {
		return h, fmt.Errorf("store: %w", err)
	}

	v := append(token.Hash[:len(token.Hash):len(token.Hash)], body...)
	minute := minuteOf(token.Expires)
	err = t.spend(s, func(b *batch) error {
		if !t.current(b, token) {
			return &refusal{err: oauth.ErrNoRegistration, spends: true}
		}

		m, err := b.minute(tokensBucket, minute)
		if err != nil {
			return err
		}

		t.nextToken++
		t.sealHandle(&h, minute, t.nextToken)
		return m.Put(binary.BigEndian.AppendUint64(nil, t.nextToken), v)
	})
	return h, err
}

// current tells whether a token's client still has the registration by which
// the token was judged.
func (t *Trust) current(b *batch, token oauth.Token) bool {
	// Only this goroutine changes registrations: what is cached is current
	// unless this very transaction touches it.
	if r, known := t.clients.get(token.ClientID); known && !b.changed[token.ClientID] {
		return r.Epoch == token.Epoch
	}

	key := b.tx.Bucket(clientsBucket).Get([]byte(token.ClientID))
	if key == nil {
		return false
	}

	r, err := readRegistration(b.tx, key)
	return err == nil && r != nil && r.Epoch == token.Epoch
}

func (t *Trust) sealHandle(h *oauth.Handle, minute uint32, seq uint64) {
	var plain oauth.Handle
	binary.BigEndian.PutUint32(plain[:], minute)
	binary.BigEndian.PutUint64(plain[4:], seq)
	t.handles.Encrypt(h[:], plain[:])
}

func (t *Trust) openHandle(h oauth.Handle) (minute, key []byte) {
	var plain oauth.Handle
	t.handles.Decrypt(plain[:], h[:])
	return plain[:4], plain[4:12]
}

// findToken returns the minute's bucket and the key of a token, and its record
// without the hash.
func (t *Trust) findToken(tx *bbolt.Tx, h oauth.Handle, hash oauth.Hash) (m *bbolt.Bucket, key, body []byte) {
	minute, key := t.openHandle(h)
	if m = tx.Bucket(tokensBucket).Bucket(minute); m == nil {
		return nil, nil, nil
	}
	v := m.Get(key)
	if len(v) < len(hash) || subtle.ConstantTimeCompare(v[:len(hash)], hash[:]) != 1 {
		return nil, nil, nil
	}
	return m, key, v[len(hash):]
}

// Token implements oauth.Store.
func (t *Trust) Token(_ context.Context, h oauth.Handle, hash oauth.Hash) (*oauth.Token, error) {
	key := tokenKey{h, hash}
	if token, known := t.tokens.get(key); known {
		return token, nil
	}

	epoch := t.tokens.begin()
	var token *oauth.Token
	small := false
	err := t.db.View(func(tx *bbolt.Tx) error {
		_, _, body := t.findToken(tx, h, hash)
		if body == nil {
			return nil
		}
		token, small = &oauth.Token{Hash: hash}, len(body) <= maxCachedToken
		return json.Unmarshal(body, token)
	})
	if err != nil {
		return nil, fmt.Errorf("store: token: %w", err)
	}

	if small {
		t.tokens.put(epoch, key, token)
	}
	return token, nil
}

// Revoke implements oauth.Store.
func (t *Trust) Revoke(_ context.Context, s oauth.Spend, owner trace.ClientID, h oauth.Handle, hash oauth.Hash) error {
	return t.spend(s, func(b *batch) error {
		m, key, body := t.findToken(b.tx, h, hash)
		if body == nil {
			return nil
		}

		var token oauth.Token
		if err := json.Unmarshal(body, &token); err != nil {
			return err
		}
		if token.ClientID != owner {
			return nil
		}

		b.after = append(b.after, func() { t.tokens.forget(tokenKey{h, hash}) })
		return m.Delete(key)
	})
}

// sweep drops the minutes that are over, once a minute, in the transaction of
// whoever comes first. The floor goes up with it, on disk too: a jti that ends
// below it is refused, so that setting the clock back brings nothing to life.
func (t *Trust) sweep(b *batch, now time.Time) error {
	if b.swept || now.Unix() < 60 {
		return nil
	}

	b.swept = true
	floor := minuteOf(now) - 1
	if floor <= t.spent.floorNow() {
		return nil
	}

	for _, root := range [][]byte{spentBucket, tokensBucket} {
		if err := dropMinutes(b.tx.Bucket(root), floor); err != nil {
			return err
		}
	}

	clear(b.minutes)
	b.after = append(b.after, func() { t.spent.forget(floor); t.tokens.forgetAll() })
	return b.tx.Bucket(metaBucket).Put(floorKey, binary.BigEndian.AppendUint32(nil, floor))
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
