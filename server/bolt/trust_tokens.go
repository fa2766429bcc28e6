package bolt

import (
	"bytes"
	"context"
	"crypto/subtle"
	"fmt"

	"github.com/go-json-experiment/json"
	"go.etcd.io/bbolt"

	"fhirdest.example/server/oauth"
	"fhirdest.example/server/oauth/stored"
	"fhirdest.example/udap/trace"
)

// Issue implements oauth.Store.
func (t *Trust) Issue(ctx context.Context, s oauth.Spend, token oauth.Token) (oauth.Handle, error) {
	i, err := t.issuing(&token)
	if err != nil {
		return oauth.Handle{}, err
	}

	i.effect = i
	err = i.commit(ctx, t, s)
	return i.handle, err
}

// issuing is a token that is being stored.
type issuing struct {
	spending // of the authentication token, when the token is the effect of that
	trust    *Trust
	client   trace.ClientID
	epoch    uint64 // of the registration from which it was made
	minute   uint32
	record   []byte
	handle   oauth.Handle // once it is stored
}

// usualToken is the length that the record of a token hardly exceeds.
const usualToken = 768

// issuing returns what stores a token.
func (t *Trust) issuing(token *oauth.Token) (*issuing, error) {
	record := append(make([]byte, 0, usualToken), token.Hash[:]...)
	record, err := stored.AppendToken(record, token)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}

	return &issuing{
		trust:  t,
		client: token.ClientID,
		epoch:  token.Epoch,
		minute: stored.Minute(token.Expires),
		record: record,
	}, nil
}

// put stores the token if its client still has the registration from which it was made,
// and sets its handle. It owns the record, whose checksum is written behind it: when it
// is called again, the transaction before came to nothing.
func (i *issuing) put(b *trustBatch) error {
	t := i.trust
	r, err := t.registration(b, i.client)
	if err != nil {
		return err
	}
	if r == nil || r.Epoch != i.epoch {
		return &spentRefusal{oauth.ErrNoRegistration}
	}

	m, err := b.minute(tokenRows, i.minute)
	if err != nil {
		return err
	}

	t.nextToken++
	t.handles.Seal(&i.handle, i.minute, t.nextToken)
	return m.rows.put(m.Bucket, b.number(t.nextToken), i.record)
}

// loadHandles reads the key that hides where a token is kept, and makes one for a new
// file.
func loadHandles(t *Trust) error {
	var key []byte
	err := t.health.view(context.Background(), t.db, func(tx *bbolt.Tx) error {
		v, err := t.get(metaRows, tx.Bucket(metaBucket), handleKey, never)
		key = bytes.Clone(v)
		return err
	})
	if err == nil && key == nil {
		key = stored.NewHandlesKey()
		err = t.db.Update(func(tx *bbolt.Tx) error {
			return metaRows.put(tx.Bucket(metaBucket), handleKey, bytes.Clone(key))
		})
	}

	if err != nil {
		return fmt.Errorf("store: %w", err)
	}

	t.handles, err = stored.NewHandles(key)
	return err
}

// findToken returns the minute's bucket and the key of a token, and its record
// without the hash.
func (t *Trust) findToken(
	tx *bbolt.Tx, h oauth.Handle, hash oauth.Hash,
) (m *bbolt.Bucket, key, body []byte, err error) {
	minute, key := t.handles.Open(h)
	tokens := tx.Bucket(tokensBucket)
	if m = tokens.Bucket(minute); m == nil {
		return nil, nil, nil, t.misnamedMinute(tokens)
	}

	v, err := t.get(tokenRows.within(minute), m, key, never)
	if err != nil || len(v) < len(hash) || subtle.ConstantTimeCompare(v[:len(hash)], hash[:]) != 1 {
		return nil, nil, nil, err
	}
	return m, key, v[len(hash):], nil
}

// misnamedMinute looks for a minute whose tokens are of another one: that of a
// token whose minute seems not to be there.
func (t *Trust) misnamedMinute(tokens *bbolt.Bucket) error {
	return tokens.ForEachBucket(func(name []byte) error {
		if k, v := tokens.Bucket(name).Cursor().First(); !tokenRows.within(name).sound(k, v) {
			return t.damaged(tokensBucket, name, "has tokens of another minute")
		}
		return nil
	})
}

// Live implements oauth.Store.
func (t *Trust) Live(ctx context.Context, h oauth.Handle, hash oauth.Hash) (held oauth.Held, err error) {
	// What the token depends on is read after it, and may be newer. That does no
	// harm: a registration never goes back to an Epoch that it had, nor a grant to
	// a Revision.
	if held.Token, err = t.token(ctx, h, hash); held.Token == nil || err != nil {
		return oauth.Held{}, err
	}
	if held.Registration, err = t.Client(ctx, held.Token.ClientID); err != nil {
		return oauth.Held{}, err
	}

	if id := held.Token.Grant; id != "" {
		if held.Grant, err = t.Grant(ctx, id); err != nil {
			return oauth.Held{}, err
		}
	}

	return held, nil
}

func (t *Trust) token(ctx context.Context, h oauth.Handle, hash oauth.Hash) (*oauth.Token, error) {
	key := tokenKey{h, hash}
	if token, known := t.tokens.get(key); known {
		return token, nil
	}

	epoch := t.tokens.begin()
	var token *oauth.Token
	small := false
	err := t.health.view(ctx, t.db, func(tx *bbolt.Tx) error {
		_, key, body, err := t.findToken(tx, h, hash)
		if body == nil {
			return err
		}

		small = len(body) <= maxCachedToken
		token, err = t.readToken(hash, key, body)
		return err
	})
	if err != nil {
		return nil, err
	}

	if small {
		t.tokens.put(epoch, key, token)
	}
	return token, nil
}

// Revoke implements oauth.Store.
func (t *Trust) Revoke(
	ctx context.Context, s oauth.Spend, owner trace.ClientID, h oauth.Handle, hash oauth.Hash,
) error {
	return t.spend(ctx, s, func(b *trustBatch) error {
		_, key, body, err := t.findToken(b.tx, h, hash)
		if body == nil {
			return err
		}

		token, err := t.readToken(hash, key, body)
		if err != nil || token.ClientID != owner {
			return err
		}

		return t.dropToken(b, oauth.TokenKey{
			Handle: h,
			Hash:   hash,
		})
	})
}

// dropToken removes a token if there is one.
func (t *Trust) dropToken(b *trustBatch, k oauth.TokenKey) error {
	m, key, body, err := t.findToken(b.tx, k.Handle, k.Hash)
	if body == nil {
		return err
	}

	b.after = append(b.after, func() { t.tokens.forget(tokenKey{k.Handle, k.Hash}) })
	b.wrote = true
	return m.Delete(key)
}

func (t *Trust) readToken(hash oauth.Hash, key, body []byte) (*oauth.Token, error) {
	token := &oauth.Token{Hash: hash}
	if err := json.Unmarshal(body, token); err != nil {
		return nil, t.damaged(tokensBucket, key, err.Error())
	}
	return token, nil
}
