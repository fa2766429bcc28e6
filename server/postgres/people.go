package postgres

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/jackc/pgx/v5"

	"fhirdest.example/server/people"
	"fhirdest.example/udap/trace"
)

// peopleStore implements people.Store in the schema trust.
type peopleStore struct{ t *Trust }

// People returns the store of sessions and remembered decisions.
func (t *Trust) People() people.Store { return peopleStore{t} }

const putSession = `insert into session (id, signed_in, body) values ($1, $2, $3)
	on conflict (id) do update set signed_in = excluded.signed_in, body = excluded.body`

// StartSession implements people.Store.
func (p peopleStore) StartSession(
	ctx context.Context, s people.Session, former people.SessionID,
) error {
	body, err := json.Marshal(&s)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}

	return p.t.commits.Do(ctx, func(b *trustTx) error {
		b.put(`delete from session where id = any(array(
			select id from session where signed_in <= $1 limit $2))`,
			s.SignedIn.Add(-people.Life).Unix(), maxSweptGrants)
		b.put("delete from session where id = $1", former[:])
		b.put(putSession, s.ID[:], s.SignedIn.Unix(), body)
		return nil
	})
}

// Session implements people.Store.
func (p peopleStore) Session(ctx context.Context, id people.SessionID) (*people.Session, error) {
	s, err := readRow[people.Session](
		ctx,
		p.t,
		"session",
		"select body from session where id = $1",
		id[:],
	)
	if s != nil {
		s.ID = id
	}
	return s, err
}

// UseSession implements people.Store.
func (p peopleStore) UseSession(
	ctx context.Context, id people.SessionID, at time.Time,
) error {
	return p.t.commits.Do(ctx, func(b *trustTx) error {
		var s *people.Session
		err := b.query(func(rows pgx.Rows) error {
			var body []byte
			err := rows.Scan(&body)
			if err == nil {
				s, err = parse[people.Session](p.t, "session", id[:], body)
			}
			return err
		}, "select body from session where id = $1", id[:])
		if err != nil || s == nil || !at.After(s.LastRequest) {
			return err
		}

		s.LastRequest = at
		body, err := json.Marshal(s)
		if err != nil {
			return fmt.Errorf("store: %w", err)
		}
		b.put(putSession, id[:], s.SignedIn.Unix(), body)
		return nil
	})
}

// EndSession implements people.Store.
func (p peopleStore) EndSession(ctx context.Context, id people.SessionID) error {
	return p.t.commits.Do(ctx, func(b *trustTx) error {
		b.put("delete from session where id = $1", id[:])
		return nil
	})
}

// Consent implements people.Store.
func (p peopleStore) Consent(
	ctx context.Context, subject string, client trace.ClientID,
) (*people.Consent, error) {
	return readRow[people.Consent](
		ctx,
		p.t,
		"consent",
		"select body from consent where key = $1",
		digest(subject, string(client)),
	)
}

// Remember implements people.Store.
func (p peopleStore) Remember(ctx context.Context, c people.Consent) error {
	body, err := json.Marshal(&c)
	if err == nil && strings.Contains(c.Subject+string(c.Client), "\x00") {
		err = fmt.Errorf(
			"a decision of %q about %q cannot be stored",
			c.Subject,
			c.Client,
		)
	}
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}

	return p.t.commits.Do(ctx, func(b *trustTx) error {
		b.put(`insert into consent (key, body) values ($1, $2)
			on conflict (key) do update set body = excluded.body`,
			digest(c.Subject, string(c.Client)), body)
		return nil
	})
}

// Forget implements people.Store.
func (p peopleStore) Forget(
	ctx context.Context, subject string, client trace.ClientID,
) error {
	return p.t.commits.Do(ctx, func(b *trustTx) error {
		b.put("delete from consent where key = $1", digest(subject, string(client)))
		return nil
	})
}
