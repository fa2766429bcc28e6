package postgres

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/jackc/pgx/v5"

	"fhirdest.example/server/oauth"
	"fhirdest.example/server/oauth/stored"
	"fhirdest.example/server/shared"
	"fhirdest.example/udap/trace"
)

// Trust is the schema trust: registrations, used jti, tokens, what people granted,
// sign-in, decisions and revocation lists. It implements oauth.Store.
//
// Whoever changes something waits for one advisory lock, as long as one transaction
// lasts, so that changes of all destinations come one after the other, each with the
// rows as the one before left them. In one process the work of all callers that wait
// shares a transaction (package shared): two round trips, the first of which gets the
// lock and reads what the work needs.
//
// Rows that were parsed are kept in memory with their version. Each request that
// depends on one asks the database for the version, in one round trip that the callers
// of a process share; so what another destination has changed is in force on the next
// request. That round trip is what several destinations cost beside one on Bolt.
type Trust struct {
	db      *database
	name    []byte // of this destination
	commits *shared.Committer[*trustTx]
	reads   *shared.Committer[*lookup]
	handles stored.Handles
	unsure  unsureJTI
	unswept bool         // rows that are over are left; of the committer alone
	ahead   atomic.Int64 // the minute up to which requests are refused because the clock was ahead; 0: none are
	live    atomic.Int64 // used jti, as of the last transaction

	clients *versions[trace.ClientID, oauth.Registration]
	grants  *versions[oauth.GrantID, oauth.Grant]
	tokens  *versions[oauth.TokenKey, oauth.Token]
}

var _ oauth.Store = (*Trust)(nil)

// Bounds of transactions that callers share.
const (
	mostWrites = 2048
	mostReads  = 512
)

// trustParameters are those of the connections beside sessionPlans. Every statement
// looks rows up by a key or reads a part of an index: a plan that was made when a table
// was small must not read it whole later. A destination that is cut off while it has
// the lock loses it soon: between its two round trips it only computes.
var trustParameters = map[string]string{
	"enable_hashjoin":                     "off",
	"enable_mergejoin":                    "off",
	"idle_in_transaction_session_timeout": "3s",
	"lock_timeout":                        lockTimeout,
}

// OpenTrust connects to a database whose schemas Migrate has made.
func OpenTrust(ctx context.Context, c Config) (*Trust, error) {
	db, err := open(ctx, c, "trust", trustParameters)
	if err != nil {
		return nil, err
	}

	t := &Trust{
		db:      db,
		name:    []byte(c.Name),
		clients: newVersions[trace.ClientID, oauth.Registration](),
		grants:  newVersions[oauth.GrantID, oauth.Grant](),
		tokens:  newVersions[oauth.TokenKey, oauth.Token](),
	}
	key, err := t.Shared().Swap(ctx, "handles", nil, stored.NewHandlesKey())
	if err == nil {
		t.handles, err = stored.NewHandles(key)
	}
	if err != nil {
		_ = db.Close()
		return nil, err
	}

	db.arrivals.onMove(func() {
		t.clients.empty()
		t.grants.empty()
		t.tokens.empty()
	})
	t.commits = shared.New(t.writing())
	t.reads = shared.New(t.reading())
	return t, nil
}

// Close commits what is under way and ends the connections.
func (t *Trust) Close() error {
	t.commits.Close()
	t.reads.Close()
	return t.db.Close()
}

// Shared returns the values that all destinations on the database have in common.
func (t *Trust) Shared() Shared { return Shared{t.db} }

// Shared is values that all destinations have in common, secret ones among them. Whoever
// may read the schema trust may read them.
type Shared struct{ db *database }

// Value returns what is stored under a name; nil for nothing.
func (s Shared) Value(ctx context.Context, name string) (value []byte, err error) {
	err = s.db.view(ctx, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, "select value from settings where name = $1", name).Scan(&value)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	return value, err
}

// Swap stores a value under a name in the place of another one, nil for none, and
// returns what is stored then: another value, if there was one or it was changed
// meanwhile.
func (s Shared) Swap(ctx context.Context, name string, was, next []byte) (value []byte, err error) {
	change := "update settings set value = $2 where name = $1 and value = $3"
	args := []any{name, next, was}
	if was == nil {
		change = "insert into settings (name, value) values ($1, $2) on conflict (name) do nothing"
		args = args[:2]
	}

	err = s.db.update(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, change, args...); err != nil {
			return err
		}
		return tx.QueryRow(ctx, "select value from settings where name = $1", name).Scan(&value)
	})
	return value, err
}

// Health returns what an operator must know of the database: damaged rows that were
// met, and why the last transaction failed.
func (t *Trust) Health() []string {
	all := t.db.health.alarms()
	if minute := t.ahead.Load(); minute != 0 {
		all = append(all, stored.ClockAlarm(uint32(minute)))
	}
	return all
}

// LiveJTI returns how many used jti are remembered, or were when the database was
// reached last.
func (t *Trust) LiveJTI() int {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()

	var n int64
	if err := t.db.pool.QueryRow(ctx, "select spent from state").Scan(&n); err == nil {
		t.live.Store(n)
	}
	return int(t.live.Load())
}

// digest returns the key of a row that is named by texts.
func digest(texts ...string) []byte {
	h := sha256.New()
	for i, text := range texts {
		if i > 0 {
			h.Write([]byte{0})
		}
		h.Write([]byte(text))
	}
	return h.Sum(nil)
}

// registrationKey returns the key of the one registration that a client has in a
// community.
func registrationKey(community trace.CommunityURI, client trace.ClientURI) []byte {
	return digest(string(community), string(client))
}

// parse reads the body of a row.
func parse[V any](t *Trust, table string, key, body []byte) (*V, error) {
	v := new(V)
	if err := json.Unmarshal(body, v); err != nil {
		return nil, t.db.health.found(damaged(table, "key %x: %v", key, err))
	}
	return v, nil
}

// Register implements oauth.Store.
func (t *Trust) Register(
	ctx context.Context, s oauth.Spend, next oauth.Registration,
) (now, previous *oauth.Registration, err error) {
	key := registrationKey(next.Community, next.Client)
	err = t.spend(ctx, s, func(b *trustTx) { b.wantKey(key) }, func(b *trustTx) error {
		now, previous = nil, nil
		row, err := b.registrationAt(key)
		if err != nil {
			return err
		}

		record := next
		if row != nil {
			previous = row
			record = previous.Succeed(next)
		}
		now = &record
		return b.putRegistration(key, now)
	})
	if err != nil {
		return nil, nil, err
	}

	return now, previous, nil
}

// Cancel implements oauth.Store.
func (t *Trust) Cancel(
	ctx context.Context, s oauth.Spend, community trace.CommunityURI, client trace.ClientURI,
) (old *oauth.Registration, err error) {
	key := registrationKey(community, client)
	err = t.spend(ctx, s, func(b *trustTx) { b.wantKey(key) }, func(b *trustTx) error {
		if old, err = b.registrationAt(key); err != nil {
			return err
		}
		if old == nil {
			return oauth.ErrNoRegistration
		}
		b.dropRegistration(key)
		return nil
	})
	if err != nil {
		return nil, err
	}

	return old, nil
}

// Spend implements oauth.Store.
func (t *Trust) Spend(ctx context.Context, s oauth.Spend) error {
	return t.spend(ctx, s, nil, func(*trustTx) error { return nil })
}

// Issue implements oauth.Store.
func (t *Trust) Issue(ctx context.Context, s oauth.Spend, token oauth.Token) (h oauth.Handle, err error) {
	row, err := newTokenRow(&token)
	if err != nil {
		return h, err
	}

	want := func(b *trustTx) { b.wantClient(token.ClientID) }
	err = t.spend(ctx, s, want, func(b *trustTx) error {
		h, err = b.putToken(row)
		return err
	})
	if err != nil {
		return oauth.Handle{}, err
	}
	return h, nil
}

// Revoke implements oauth.Store.
func (t *Trust) Revoke(
	ctx context.Context, s oauth.Spend, owner trace.ClientID, h oauth.Handle, hash oauth.Hash,
) error {
	return t.spend(ctx, s, nil, func(b *trustTx) error {
		b.dropToken(oauth.TokenKey{
			Handle: h,
			Hash:   hash,
		}, owner)
		return nil
	})
}

// Expiring calls visit for each registration whose certificate expires before a time,
// the earliest first, until it returns false. A registration that cannot be read ends
// it with an error.
func (t *Trust) Expiring(
	ctx context.Context, before time.Time, visit func(*oauth.Registration) bool,
) error {
	return t.db.view(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx,
			"select client_id, body from registration where expires < $1 order by expires, key",
			before.Unix())
		if err != nil {
			return err
		}
		defer rows.Close()

		for rows.Next() {
			var id, body []byte
			if err := rows.Scan(&id, &body); err != nil {
				return err
			}
			r, err := parse[oauth.Registration](t, "registration", id, body)
			if err != nil {
				return err
			}
			if !visit(r) {
				break
			}
		}
		return rows.Err()
	})
}

// CountExpiring returns how many registrations have a certificate that expires before
// a time.
func (t *Trust) CountExpiring(ctx context.Context, before time.Time) (n int, err error) {
	err = t.db.view(ctx, func(tx pgx.Tx) error {
		return tx.QueryRow(
			ctx,
			"select count(*) from registration where expires < $1",
			before.Unix(),
		).Scan(&n)
	})
	return n, err
}
