package bolt

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"go.etcd.io/bbolt"

	"fhirdest.example/server/people"
	"fhirdest.example/udap/trace"
)

// Since layout 5, "sessions" has who is signed in, by the hash of the cookie, and
// "consents" what people decided about clients: the person's subject, NUL and the
// client_id, and the decision as JSON.
var (
	sessionsBucket = []byte("sessions")
	consentsBucket = []byte("consents")

	sessionRows = rowsOf("sessions")
	consentRows = rowsOf("consents")
)

// sessionSweep is how often sessions that are over are looked for.
const sessionSweep = time.Minute

// peopleStore implements people.Store in trust.bolt.
type peopleStore struct {
	trust *Trust
	swept time.Time // of the committer alone
}

// makePeopleBuckets brings a file to layout 5.
func makePeopleBuckets(db *bbolt.DB) error {
	return db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{sessionsBucket, consentsBucket} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
}

// People returns the store of sessions and remembered decisions.
func (t *Trust) People() people.Store { return t.people }

// StartSession implements people.Store.
func (p *peopleStore) StartSession(
	ctx context.Context, s people.Session, former people.SessionID,
) error {
	value, err := json.Marshal(&s)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}

	return p.trust.commits.Do(ctx, func(b *trustBatch) error {
		sessions := b.writable(sessionsBucket)
		if err := p.sweep(sessions, s.SignedIn); err != nil {
			return err
		}
		if err := sessions.Delete(former[:]); err != nil {
			return err
		}

		return sessionRows.put(
			sessions,
			bytes.Clone(s.ID[:]),
			bytes.Clone(value),
		)
	})
}

// sweep removes sessions that are over, and rows that cannot be read: whoever had
// one signs in again.
func (p *peopleStore) sweep(sessions *bbolt.Bucket, now time.Time) error {
	if d := now.Sub(p.swept); d >= 0 && d < sessionSweep {
		return nil
	}

	var over [][]byte
	err := sessions.ForEach(func(k, v []byte) error {
		var s people.Session
		value, ok := sessionRows.open(k, v)
		if !ok || json.Unmarshal(value, &s) != nil || s.Over(now) {
			over = append(over, bytes.Clone(k))
		}
		return nil
	})
	if err != nil {
		return err
	}

	for _, k := range over {
		if err := sessions.Delete(k); err != nil {
			return err
		}
	}

	p.swept = now
	return nil
}

// Session implements people.Store.
func (p *peopleStore) Session(
	ctx context.Context, id people.SessionID,
) (*people.Session, error) {
	var s *people.Session
	err := p.trust.health.view(ctx, p.trust.db, func(tx *bbolt.Tx) (err error) {
		s, err = p.session(tx, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (p *peopleStore) session(tx *bbolt.Tx, id people.SessionID) (*people.Session, error) {
	value, err := p.trust.get(
		sessionRows,
		tx.Bucket(sessionsBucket),
		id[:],
		never,
	)
	if value == nil {
		return nil, err
	}

	s := &people.Session{ID: id}
	if err := json.Unmarshal(value, s); err != nil {
		return nil, p.trust.damaged(
			sessionsBucket,
			id[:],
			err.Error(),
		)
	}
	return s, nil
}

// UseSession implements people.Store.
func (p *peopleStore) UseSession(
	ctx context.Context, id people.SessionID, at time.Time,
) error {
	return p.trust.commits.Do(ctx, func(b *trustBatch) error {
		s, err := p.session(b.tx, id)
		if err != nil || s == nil || !at.After(s.LastRequest) {
			return err
		}

		s.LastRequest = at
		value, err := json.Marshal(s)
		if err != nil {
			return err
		}

		return sessionRows.put(
			b.writable(sessionsBucket),
			bytes.Clone(id[:]),
			value,
		)
	})
}

// EndSession implements people.Store.
func (p *peopleStore) EndSession(ctx context.Context, id people.SessionID) error {
	return p.trust.commits.Do(ctx, func(b *trustBatch) error {
		return b.writable(sessionsBucket).Delete(id[:])
	})
}

func consentKey(subject string, client trace.ClientID) []byte {
	return append(append([]byte(subject), 0), client...)
}

// Consent implements people.Store.
func (p *peopleStore) Consent(
	ctx context.Context, subject string, client trace.ClientID,
) (c *people.Consent, err error) {
	key := consentKey(subject, client)
	err = p.trust.health.view(ctx, p.trust.db, func(tx *bbolt.Tx) error {
		c = nil
		value, err := p.trust.get(
			consentRows,
			tx.Bucket(consentsBucket),
			key,
			never,
		)
		if value == nil {
			return err
		}

		c = new(people.Consent)
		if err := json.Unmarshal(value, c); err != nil {
			return p.trust.damaged(
				consentsBucket,
				key,
				err.Error(),
			)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}

	return c, nil
}

// Remember implements people.Store.
func (p *peopleStore) Remember(ctx context.Context, c people.Consent) error {
	key := consentKey(c.Subject, c.Client)
	value, err := json.Marshal(&c)
	if err == nil && bytes.Count(key, []byte{0}) != 1 {
		err = fmt.Errorf(
			"a decision of %q about %q cannot be stored",
			c.Subject,
			c.Client,
		)
	}
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}

	return p.trust.commits.Do(ctx, func(b *trustBatch) error {
		return consentRows.put(
			b.writable(consentsBucket),
			bytes.Clone(key),
			bytes.Clone(value),
		)
	})
}

// Forget implements people.Store.
func (p *peopleStore) Forget(
	ctx context.Context, subject string, client trace.ClientID,
) error {
	key := consentKey(subject, client)
	return p.trust.commits.Do(ctx, func(b *trustBatch) error {
		return b.writable(consentsBucket).Delete(key)
	})
}
