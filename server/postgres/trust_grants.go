package postgres

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/jackc/pgx/v5"

	"fhirdest.example/server/oauth"
	"fhirdest.example/server/oauth/stored"
	"fhirdest.example/server/tiered"
)

// Approve implements oauth.GrantStore.
func (t *Trust) Approve(ctx context.Context, g oauth.Grant, seen *oauth.Registration) error {
	if stored.GrantKey(g.ID) == nil || strings.Contains(g.Person.Subject, "\x00") {
		return fmt.Errorf("store: grant %q of %q cannot be stored", g.ID, g.Person.Subject)
	}

	want := func(b *trustTx) { b.wantClient(g.ClientID) }
	return t.commits.DoWanting(ctx, want, func(b *trustTx) error {
		r, err := b.registration(g.ClientID)
		if err != nil {
			return err
		}
		if r == nil || r.Statement != seen.Statement || r.Epoch != seen.Epoch {
			return oauth.ErrNoRegistration
		}
		if err := b.useLaunch(g.Uses); err != nil {
			return err
		}
		if err := b.makeRoom(&g); err != nil {
			return err
		}
		return b.putGrant(&g)
	})
}

// useLaunch removes the launch that a grant uses.
func (b *trustTx) useLaunch(h oauth.Handle) error {
	if h == (oauth.Handle{}) {
		return nil
	}

	var there bool
	err := b.query(func(rows pgx.Rows) error {
		there = true
		return nil
	}, "select from launch where handle = $1", h[:])
	if err != nil {
		return err
	}
	if !there {
		return oauth.ErrNoLaunch
	}
	b.put("delete from launch where handle = $1", h[:])
	return nil
}

// makeRoom removes the grant that was used longest ago of those that a person has
// given a client, when there are as many as there may be.
func (b *trustTx) makeRoom(next *oauth.Grant) error {
	n := 0
	var oldest *oauth.Grant
	err := b.eachGrant(func(g *oauth.Grant) error {
		n++
		if oldest == nil || stored.LastUsed(g).Before(stored.LastUsed(oldest)) {
			oldest = g
		}
		return nil
	}, "select id, body from grants where subject = $1 and client_id = $2 order by id",
		digest(next.Person.Subject), []byte(next.ClientID))
	if err != nil || n < oauth.MaxGrants {
		return err
	}

	b.dropGrant(oldest.ID)
	return nil
}

// eachGrant calls visit with the grants of a query.
func (b *trustTx) eachGrant(
	visit func(*oauth.Grant) error, query string, args ...any,
) error {
	return b.query(func(rows pgx.Rows) error {
		g, err := scanGrant(b.t, rows)
		if err != nil {
			return err
		}
		return visit(g)
	}, query, args...)
}

// scanGrant reads a row of id and body.
func scanGrant(t *Trust, rows pgx.Rows) (*oauth.Grant, error) {
	var id, body []byte
	if err := rows.Scan(&id, &body); err != nil {
		return nil, err
	}
	return parse[oauth.Grant](t, "grants", id, body)
}

// putGrant stores a grant in the place of the former one.
func (b *trustTx) putGrant(g *oauth.Grant) error {
	body, err := json.Marshal(g)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}

	b.put(`insert into grants (id, subject, client_id, version, minute, body)
		values ($1, $2, $3, nextval('versions'), $4, $5)
		on conflict (id) do update set subject = excluded.subject, client_id = excluded.client_id,
			version = excluded.version, minute = excluded.minute, body = excluded.body`,
		stored.GrantKey(g.ID), digest(g.Person.Subject), []byte(g.ClientID), int64(stored.Minute(g.Expires)), body)
	b.noteGrant(g.ID, g)
	return nil
}

func (b *trustTx) dropGrant(id oauth.GrantID) {
	b.put("delete from grants where id = $1", stored.GrantKey(id))
	b.noteGrant(id, nil)
}

// noteGrant keeps what the transaction now has of a grant.
func (b *trustTx) noteGrant(id oauth.GrantID, g *oauth.Grant) {
	if w := b.grants[id]; w != nil {
		w.found = found[oauth.Grant]{value: g}
	}
}

// grant returns a grant, which work wanted, as the transaction sees it, or nil.
func (b *trustTx) grant(id oauth.GrantID) (*oauth.Grant, error) {
	w := b.grants[id]
	if w == nil {
		return nil, nil // a text that is no identifier
	}
	return w.found.value, w.found.err
}

// Grants implements oauth.GrantStore.
func (t *Trust) Grants(ctx context.Context, subject string) (all []*oauth.Grant, err error) {
	err = t.db.read(ctx, func(ctx context.Context) error {
		all = nil
		return t.db.eachRow(ctx, func(rows pgx.Rows) error {
			g, err := scanGrant(t, rows)
			if err == nil && !g.Code.Redeemed.IsZero() {
				all = append(all, g)
			}
			return err
		}, "select id, body from grants where subject = $1 order by id", digest(subject))
	})
	if err != nil {
		return nil, err
	}

	slices.SortStableFunc(
		all,
		func(x, y *oauth.Grant) int {
			return x.Created.Compare(y.Created)
		},
	)
	return all, nil
}

// Exchange implements oauth.GrantStore.
func (t *Trust) Exchange(
	ctx context.Context, s oauth.Spend, id oauth.GrantID, decide func(*oauth.Grant) oauth.Change,
) (h oauth.Handle, err error) {
	want := func(b *trustTx) { b.wantGrant(id) }
	err = t.spend(ctx, s, want, func(b *trustTx) error {
		g, err := b.grant(id)
		if err != nil {
			return err
		}
		h, err = b.change(g, decide(g))
		return err
	})
	if err != nil {
		return oauth.Handle{}, err
	}

	return h, nil
}

// change does what was decided about a grant.
func (b *trustTx) change(g *oauth.Grant, c oauth.Change) (h oauth.Handle, err error) {
	if c.End && g != nil {
		b.dropGrant(g.ID)
	}
	if c.Err != nil {
		return h, &refusal{c.Err}
	}

	if c.Token != nil {
		row, err := newTokenRow(c.Token)
		if err != nil {
			return h, err
		}
		if h, err = b.putToken(row); err != nil {
			return h, err
		}
	}
	if c.Drop != nil && g != nil {
		b.dropToken(*c.Drop, g.ClientID)
	}

	if c.Grant == nil || g == nil || c.End {
		return h, nil
	}
	return h, b.putGrant(stored.After(c, h))
}

// Withdraw implements oauth.GrantStore.
func (t *Trust) Withdraw(ctx context.Context, id oauth.GrantID, subject string) error {
	return t.changeGrant(ctx, id, subject, func(b *trustTx, g *oauth.Grant) error {
		if g != nil {
			b.dropGrant(g.ID)
		}
		return nil
	})
}

// Narrow implements oauth.GrantStore.
func (t *Trust) Narrow(
	ctx context.Context, id oauth.GrantID, subject string, scope []string,
) error {
	return t.changeGrant(ctx, id, subject, func(b *trustTx, g *oauth.Grant) error {
		if g == nil {
			return oauth.ErrNoGrant
		}

		next := *g
		next.Scope = scope
		next.Revision++
		return b.putGrant(&next)
	})
}

// changeGrant reads a grant in a transaction and has it changed; a grant of another
// person counts as none.
func (t *Trust) changeGrant(
	ctx context.Context, id oauth.GrantID, subject string, apply func(*trustTx, *oauth.Grant) error,
) error {
	want := func(b *trustTx) { b.wantGrant(id) }
	return t.commits.DoWanting(ctx, want, func(b *trustTx) error {
		g, err := b.grant(id)
		if err != nil {
			return err
		}
		if g != nil && g.Person.Subject != subject {
			g = nil
		}
		return apply(b, g)
	})
}

// EndSession implements oauth.GrantStore.
func (t *Trust) EndSession(ctx context.Context, subject, session string) error {
	return t.commits.Do(ctx, func(b *trustTx) error {
		if session == "" {
			return nil
		}

		var over []oauth.GrantID
		err := b.eachGrant(func(g *oauth.Grant) error {
			if g.Session == session {
				over = append(over, g.ID)
			}
			return nil
		}, "select id, body from grants where subject = $1", digest(subject))
		if err != nil {
			return err
		}

		for _, id := range over {
			b.dropGrant(id)
		}
		return nil
	})
}

// AddLaunch implements oauth.LaunchStore.
func (t *Trust) AddLaunch(
	ctx context.Context, l oauth.Launch, now time.Time,
) (h oauth.Handle, err error) {
	body, err := json.Marshal(l)
	if err != nil {
		return h, fmt.Errorf("store: %w", err)
	}

	h = stored.NewLaunchHandle(l.Expires)
	return h, t.commits.Do(ctx, func(b *trustTx) error {
		if err := b.sweepLaunches(now); err != nil {
			return err
		}
		n, err := b.count("select count(*) from (select from launch limit $1) l", oauth.MaxLaunches)
		if err != nil {
			return err
		}
		if n >= oauth.MaxLaunches {
			return oauth.ErrTooManyLaunches
		}

		b.put("insert into launch (handle, body) values ($1, $2)", h[:], body)
		return nil
	})
}

// count returns the number that a statement selects.
func (b *trustTx) count(statement string, args ...any) (n int64, err error) {
	err = b.query(func(rows pgx.Rows) error { return rows.Scan(&n) }, statement, args...)
	return n, err
}

// sweepLaunches removes launches that have expired.
func (b *trustTx) sweepLaunches(now time.Time) error {
	first := binary.BigEndian.AppendUint32(nil, stored.Minute(now)+1)
	_, err := b.exec("delete from launch where handle < $1", first)
	return err
}

// Launch implements oauth.LaunchStore.
func (t *Trust) Launch(
	ctx context.Context, h oauth.Handle, hash oauth.Hash,
) (*oauth.Launch, error) {
	l, err := readRow[oauth.Launch](ctx, t, "launch", "select body from launch where handle = $1", h[:])
	if l == nil || l.Hash != hash {
		return nil, err
	}
	return l, nil
}

// readRow returns the row whose body a statement selects by its key, or nil.
func readRow[V any](
	ctx context.Context, t *Trust, table, statement string, key []byte,
) (v *V, err error) {
	err = t.db.read(ctx, func(ctx context.Context) error {
		v = nil
		return t.db.eachRow(ctx, func(rows pgx.Rows) error {
			var body []byte
			err := rows.Scan(&body)
			if err == nil {
				v, err = parse[V](t, table, key, body)
			}
			return err
		}, statement, key)
	})
	return v, err
}

// Trips is the part of Trust that implements tiered.Store.
type Trips struct{ *Trust }

var _ tiered.Store = Trips{}

// BeginTrip implements tiered.Store.
func (t Trips) BeginTrip(ctx context.Context, trip tiered.Trip, now time.Time) error {
	body, err := json.Marshal(trip)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}

	minute := int64(stored.Minute(trip.Expires))
	return t.commits.Do(ctx, func(b *trustTx) error {
		n, err := b.count("select count from trips_begun where minute = $1", minute)
		if err != nil {
			return err
		}
		if n >= tiered.MaxTrips {
			return tiered.ErrFull
		}

		over := int64(stored.Minute(now)) - 1
		b.put("delete from trip where minute <= $1", over)
		b.put("delete from trips_begun where minute <= $1", over)
		b.put(`insert into trips_begun (minute, count) values ($1, 1)
			on conflict (minute) do update set count = trips_begun.count + 1`, minute)
		b.put("insert into trip (id, minute, body) values ($1, $2, $3)", trip.ID[:], minute, body)
		return nil
	})
}

// EndTrip implements tiered.Store.
func (t Trips) EndTrip(
	ctx context.Context, id tiered.TripID, expires time.Time,
) (trip *tiered.Trip, err error) {
	minute := int64(stored.Minute(expires))
	err = t.commits.Do(ctx, func(b *trustTx) error {
		trip = nil // this may run a second time
		err := b.query(func(rows pgx.Rows) error {
			var body []byte
			if err := rows.Scan(&body); err != nil {
				return err
			}
			trip, err = parse[tiered.Trip](t.Trust, "trip", id[:], body)
			return err
		}, "select body from trip where id = $1 and minute = $2", id[:], minute)
		if err != nil || trip == nil {
			return err
		}

		trip.ID = id
		trip.Expires = expires
		b.put("delete from trip where id = $1", id[:])
		return nil
	})
	if err != nil {
		return nil, err
	}

	return trip, nil
}

// Membership implements tiered.Store.
func (t Trips) Membership(ctx context.Context, provider string) (*tiered.Membership, error) {
	return readRow[tiered.Membership](
		ctx,
		t.Trust,
		"membership",
		"select body from membership where key = $1",
		digest(provider),
	)
}

// Join implements tiered.Store.
func (t Trips) Join(ctx context.Context, m tiered.Membership) error {
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}

	return t.commits.Do(ctx, func(b *trustTx) error {
		b.put(`insert into membership (key, body) values ($1, $2)
			on conflict (key) do update set body = excluded.body`, digest(m.Provider), body)
		return nil
	})
}
