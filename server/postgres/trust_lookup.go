package postgres

import (
	"context"
	"crypto/subtle"
	"encoding/binary"
	"math"

	"github.com/jackc/pgx/v5"

	"fhirdest.example/server/oauth"
	"fhirdest.example/server/oauth/stored"
	"fhirdest.example/server/shared"
	"fhirdest.example/udap/trace"
)

// found is a row that was looked up: nil and no error when there is none. An error is
// of this row alone.
type found[V any] struct {
	value *V
	err   error
}

// lookup is what callers that wait at the same time look up, in one round trip.
type lookup struct {
	t       *Trust
	tokens  map[oauth.TokenKey]*tokenLookup
	clients map[trace.ClientID]*rowLookup[oauth.Registration]
	grants  map[oauth.GrantID]*rowLookup[oauth.Grant]
}

// rowLookup is one row: what memory has of it, and what was found.
type rowLookup[V any] struct {
	key   []byte
	had   versioned[V]
	found found[V]
}

type tokenLookup struct {
	had    versioned[oauth.Token]
	client versioned[oauth.Registration]
	grant  versioned[oauth.Grant]
	held   oauth.Held
	err    error
}

// Changed implements shared.Batch.
func (l *lookup) Changed() bool { return false }

// reading is the engine that shares lookups.
func (t *Trust) reading() shared.Engine[*lookup] {
	return shared.Engine[*lookup]{
		Begin: func() (*lookup, error) {
			return &lookup{
				t:       t,
				tokens:  map[oauth.TokenKey]*tokenLookup{},
				clients: map[trace.ClientID]*rowLookup[oauth.Registration]{},
				grants:  map[oauth.GrantID]*rowLookup[oauth.Grant]{},
			}, nil
		},
		Fetch: func(l *lookup) error {
			return t.db.health.read(t.db.again(func() error {
				ctx, cancel := context.WithTimeout(context.Background(), trustTrip)
				defer cancel()
				return l.run(ctx)
			}))
		},
		Commit:   func(*lookup) error { return nil },
		Rollback: func(*lookup) {},
		Most:     mostReads,
		Closed:   &failure{err: errClosed},
	}
}

func (l *lookup) wantClient(id trace.ClientID) {
	if l.clients[id] == nil {
		l.clients[id] = &rowLookup[oauth.Registration]{key: []byte(id)}
	}
}

func (l *lookup) wantGrant(id oauth.GrantID) {
	if key := stored.GrantKey(id); key != nil && l.grants[id] == nil {
		l.grants[id] = &rowLookup[oauth.Grant]{key: key}
	}
}

func (l *lookup) wantToken(key oauth.TokenKey) {
	if l.tokens[key] != nil {
		return
	}

	l.tokens[key] = &tokenLookup{}
}

// run asks the database. It may be called again. What memory has is looked at when there
// is a connection: one to another server may have emptied it.
func (l *lookup) run(ctx context.Context) error {
	conn, err := l.t.db.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()

	b := &pgx.Batch{}
	l.queueTokens(b)
	lookUp(b, registrationsByID, l.clients, func(id trace.ClientID, body []byte) found[oauth.Registration] {
		return l.t.parseClient(id, body)
	}, l.t.clients)
	lookUp(b, grantsByID, l.grants, l.t.parseGrant, l.t.grants)
	return conn.SendBatch(ctx, b).Close()
}

// Rows by their names, with version and, unless memory has that version, body.
const (
	registrationsByID = `select u.i, r.version, case when r.version <> u.version then r.body end
		from unnest($1::bytea[], $2::bigint[]) with ordinality u (id, version, i)
		join registration r on r.client_id = u.id`
	grantsByID = `select u.i, r.version, case when r.version <> u.version then r.body end
		from unnest($1::bytea[], $2::bigint[]) with ordinality u (id, version, i)
		join grants r on r.id = u.id`
	tokensByPlace = `select u.i, t.hash, case when u.token = 0 then t.body end,
			r.version, case when r.version <> u.registration then r.body end,
			g.version, case when g.version <> u.consented then g.body end
		from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[]) with ordinality
			u (minute, number, token, registration, consented, i)
		join token t on t.minute = u.minute and t.number = u.number
		left join registration r on r.client_id = t.client_id
		left join grants g on g.id = t.grant_id`
)

// lookUp queues the query for rows of one kind, and keeps in memory what it finds.
func lookUp[K comparable, V any](
	b *pgx.Batch, query string, wanted map[K]*rowLookup[V], parse func(K, []byte) found[V], cache *versions[K, V],
) {
	if len(wanted) == 0 {
		return
	}

	names := make([]K, 0, len(wanted))
	keys := make([][]byte, 0, len(wanted))
	had := make([]int64, 0, len(wanted))
	for name, w := range wanted {
		w.found = found[V]{}
		w.had = cache.get(name)
		names = append(names, name)
		keys = append(keys, w.key)
		had = append(had, w.had.version)
	}

	b.Queue(query, keys, had).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var i, version int64
			var body []byte
			if err := rows.Scan(&i, &version, &body); err != nil {
				return err
			}
			name := names[i-1]
			wanted[name].found = resolve(cache, name, wanted[name].had, version, body, parse)
		}
		return rows.Err()
	})
}

// resolve returns the row of a version: what memory has of it, else what its body has.
func resolve[K comparable, V any](
	cache *versions[K, V], name K, had versioned[V], version int64, body []byte, parse func(K, []byte) found[V],
) found[V] {
	if had.version == version {
		return found[V]{value: had.value}
	}

	f := parse(name, body)
	if f.err == nil {
		cache.put(name, versioned[V]{
			version: version,
			value:   f.value,
		})
	}
	return f
}

func (t *Trust) parseClient(id trace.ClientID, body []byte) (f found[oauth.Registration]) {
	f.value, f.err = parse[oauth.Registration](t, "registration", []byte(id), body)
	return f
}

func (t *Trust) parseGrant(id oauth.GrantID, body []byte) (f found[oauth.Grant]) {
	f.value, f.err = parse[oauth.Grant](t, "grants", []byte(id), body)
	return f
}

// place returns where a token is. ok is false for a handle that no store has made.
func (t *Trust) place(h oauth.Handle) (minute, number int64, ok bool) {
	m, n := t.handles.Open(h)
	seq := binary.BigEndian.Uint64(n)
	return int64(binary.BigEndian.Uint32(m)), int64(seq), seq <= math.MaxInt64
}

// queueTokens queues the query for tokens and what they depend on.
func (l *lookup) queueTokens(b *pgx.Batch) {
	var wanted []oauth.TokenKey
	var args [5][]int64
	for key, w := range l.tokens {
		*w = tokenLookup{had: l.t.tokens.get(key)}
		if token := w.had.value; token != nil {
			w.client = l.t.clients.get(token.ClientID)
			w.grant = l.t.grants.get(token.Grant)
		}
		minute, number, ok := l.t.place(key.Handle)
		if !ok {
			continue
		}
		wanted = append(wanted, key)
		for i, n := range [5]int64{minute, number, w.had.version, w.client.version, w.grant.version} {
			args[i] = append(args[i], n)
		}
	}
	if len(wanted) == 0 {
		return
	}

	b.Queue(tokensByPlace, args[0], args[1], args[2], args[3], args[4]).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var row tokenResult
			if err := rows.Scan(&row.i, &row.hash, &row.body, &row.registration, &row.registrationBody,
				&row.grant, &row.grantBody); err != nil {
				return err
			}
			key := wanted[row.i-1]
			l.tokens[key].held, l.tokens[key].err = l.t.held(key, l.tokens[key], row)
		}
		return rows.Err()
	})
}

// tokenResult is a row of tokensByPlace.
type tokenResult struct {
	i                           int64
	hash                        []byte
	body                        []byte
	registration, grant         *int64 // versions; nil: there is none
	registrationBody, grantBody []byte
}

// held returns a token that was found, with what it depends on.
func (t *Trust) held(key oauth.TokenKey, w *tokenLookup, row tokenResult) (held oauth.Held, err error) {
	if subtle.ConstantTimeCompare(row.hash, key.Hash[:]) != 1 {
		return held, nil
	}

	if held.Token = w.had.value; held.Token == nil {
		token, err := parse[oauth.Token](t, "token", key.Handle[:], row.body)
		if err != nil {
			return held, err
		}
		token.Hash = key.Hash
		held.Token = token
		if len(row.body) <= maxCachedToken {
			t.tokens.put(key, versioned[oauth.Token]{
				version: 1, // a token never changes
				value:   token,
			})
		}
	}

	if row.registration != nil {
		r := resolve(t.clients, held.Token.ClientID, w.client, *row.registration, row.registrationBody, t.parseClient)
		if r.err != nil {
			return oauth.Held{}, r.err
		}
		held.Registration = r.value
	}
	if row.grant != nil {
		g := resolve(t.grants, held.Token.Grant, w.grant, *row.grant, row.grantBody, t.parseGrant)
		if g.err != nil {
			return oauth.Held{}, g.err
		}
		held.Grant = g.value
	}
	return held, nil
}

// Live implements oauth.Store.
func (t *Trust) Live(ctx context.Context, h oauth.Handle, hash oauth.Hash) (held oauth.Held, err error) {
	key := oauth.TokenKey{
		Handle: h,
		Hash:   hash,
	}
	want := func(l *lookup) { l.wantToken(key) }
	err = t.reads.DoWanting(ctx, want, func(l *lookup) error {
		held = l.tokens[key].held
		return l.tokens[key].err
	})
	if err != nil {
		return oauth.Held{}, err
	}
	if held.Token == nil {
		t.tokens.forget(key)
	}
	return held, nil
}

// Client implements oauth.Store.
func (t *Trust) Client(ctx context.Context, id trace.ClientID) (r *oauth.Registration, err error) {
	want := func(l *lookup) { l.wantClient(id) }
	err = t.reads.DoWanting(ctx, want, func(l *lookup) error {
		r = l.clients[id].found.value
		return l.clients[id].found.err
	})
	if r == nil && err == nil {
		t.clients.forget(id)
	}
	return r, err
}

// Grant implements oauth.GrantStore.
func (t *Trust) Grant(ctx context.Context, id oauth.GrantID) (g *oauth.Grant, err error) {
	if stored.GrantKey(id) == nil {
		return nil, nil
	}

	want := func(l *lookup) { l.wantGrant(id) }
	err = t.reads.DoWanting(ctx, want, func(l *lookup) error {
		g = l.grants[id].found.value
		return l.grants[id].found.err
	})
	if g == nil && err == nil {
		t.grants.forget(id)
	}
	return g, err
}
