package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"fhirdest.example/server/oauth"
	"fhirdest.example/server/oauth/stored"
	"fhirdest.example/server/shared"
	"fhirdest.example/udap/trace"
)

// trustTx is one shared transaction of the schema trust while it is being filled.
// Reading shows what was written before. What is written waits in memory for the next
// statement that reads, or for the commit.
type trustTx struct {
	t       *Trust
	conn    *pgxpool.Conn // nil: the transaction has not begun
	tx      pgx.Tx        // nil: it has not begun, or has ended
	broken  error         // a statement failed: nothing more can be done
	failure error         // of the commit
	wrote   bool          // since the last call of Changed
	dirty   bool          // something was written, even if it was sent since
	swept   bool

	state, stateWas sharedState

	// What work wants to be read first, and what was found; kept up to date as rows
	// are written.
	jti     map[stored.JTI]jtiUse // those used before
	wantJTI [][]byte
	keys    map[string]found[oauth.Registration]
	clients map[trace.ClientID]string // keys of registrations; empty: it has none
	byID    map[trace.ClientID]*rowLookup[oauth.Registration]
	grants  map[oauth.GrantID]*rowLookup[oauth.Grant]

	// What waits to be written, in this order.
	free   [][]byte // jti whose former use is over
	spent  spentRows
	tokens tokenRows
	out    pgx.Batch
}

// sharedState is the row of the table state.
type sharedState struct {
	floor, restored, spent, token int64
}

// writeLock is the advisory lock of whoever changes the schema trust.
const writeLock = 0x7472757374

// trustTrip bounds how long one exchange with the database may last. It is longer than
// the time after which the server ends the transaction of a destination that was cut
// off.
const trustTrip = 5 * time.Second

// Changed implements shared.Batch.
func (b *trustTx) Changed() bool {
	changed := b.wrote
	b.wrote = false
	return changed
}

// writing is the engine that shares changes.
func (t *Trust) writing() shared.Engine[*trustTx] {
	return shared.Engine[*trustTx]{
		Begin: func() (*trustTx, error) {
			return &trustTx{
				t:       t,
				jti:     map[stored.JTI]jtiUse{},
				keys:    map[string]found[oauth.Registration]{},
				clients: map[trace.ClientID]string{},
				byID:    map[trace.ClientID]*rowLookup[oauth.Registration]{},
				grants:  map[oauth.GrantID]*rowLookup[oauth.Grant]{},
			}, nil
		},
		Fetch: func(b *trustTx) error {
			return t.db.health.commit(t.db.again(b.fetch))
		},
		Settle:   (*trustTx).settle,
		Commit:   func(b *trustTx) error { return t.db.health.commit(b.failure) },
		Rollback: (*trustTx).rollback,
		Most:     mostWrites,
		Closed:   &failure{err: errClosed},
	}
}

// wantKey has the registration with a key read first.
func (b *trustTx) wantKey(key []byte) {
	b.keys[string(key)] = found[oauth.Registration]{}
}

// wantClient has the registration of a client read first.
func (b *trustTx) wantClient(id trace.ClientID) {
	if b.byID[id] == nil {
		b.byID[id] = &rowLookup[oauth.Registration]{
			key: []byte(id),
			had: b.t.clients.get(id),
		}
	}
}

// wantGrant has a grant and the registration of its client read first.
func (b *trustTx) wantGrant(id oauth.GrantID) {
	if key := stored.GrantKey(id); key != nil && b.grants[id] == nil {
		w := &rowLookup[oauth.Grant]{
			key: key,
			had: b.t.grants.get(id),
		}
		b.grants[id] = w
		if w.had.value != nil {
			b.wantClient(w.had.value.ClientID)
		}
	}
}

// fetch begins the transaction, waits for the lock and reads what work wants, in one
// round trip. It may be called again when the connection was lost.
func (b *trustTx) fetch() (err error) {
	b.rollback()
	clear(b.clients)
	ctx, cancel := context.WithTimeout(context.Background(), trustTrip)
	defer cancel()

	if b.conn, err = b.t.db.pool.Acquire(ctx); err != nil {
		return err
	}

	// Each statement sees what was committed before it began: so the rows are read as
	// they are when the lock was acquired.
	first := &pgx.Batch{}
	first.BeginTx(pgx.TxOptions{})
	first.Queue("select pg_advisory_xact_lock($1)", int64(writeLock))
	first.Queue("select floor, restored, spent, token from state").QueryRow(func(row pgx.Row) error {
		return row.Scan(&b.state.floor, &b.state.restored, &b.state.spent, &b.state.token)
	})
	b.queueJTI(first)
	b.queueKeys(first)
	b.queueClients(first)
	lookUp(first, grantsByID, b.grants, b.t.parseGrant, b.t.grants)
	results := b.conn.SendBatch(ctx, first)
	b.tx = results.Tx()
	if err := results.Close(); err != nil {
		return err
	}

	b.stateWas = b.state
	b.t.unsure.forget(b.state.floor)
	b.t.live.Store(b.state.spent)
	return nil
}

func (b *trustTx) queueJTI(first *pgx.Batch) {
	if len(b.wantJTI) == 0 {
		return
	}

	first.Queue("select key, minute, second, endpoint from spent where key = any($1)", b.wantJTI).
		Query(func(rows pgx.Rows) error {
			for rows.Next() {
				var key, endpoint []byte
				var use jtiUse
				if err := rows.Scan(&key, &use.minute, &use.second, &endpoint); err != nil {
					return err
				}
				use.endpoint = string(endpoint)
				if len(key) == stored.KeyLength {
					b.jti[stored.JTI(key)] = use
				}
			}
			return rows.Err()
		})
}

func (b *trustTx) queueKeys(first *pgx.Batch) {
	if len(b.keys) == 0 {
		return
	}

	keys := make([][]byte, 0, len(b.keys))
	for key := range b.keys {
		b.keys[key] = found[oauth.Registration]{}
		keys = append(keys, []byte(key))
	}
	first.Queue("select key, client_id, body from registration where key = any($1)", keys).
		Query(func(rows pgx.Rows) error {
			for rows.Next() {
				var key, id, body []byte
				if err := rows.Scan(&key, &id, &body); err != nil {
					return err
				}
				b.clients[trace.ClientID(id)] = string(key)
				b.keys[string(key)] = b.t.parseClient(trace.ClientID(id), body)
			}
			return rows.Err()
		})
}

// registrationKeysByID is registrationsByID with the key.
const registrationKeysByID = `select u.i, r.key, r.version, case when r.version <> u.version then r.body end
	from unnest($1::bytea[], $2::bigint[]) with ordinality u (id, version, i)
	join registration r on r.client_id = u.id`

func (b *trustTx) queueClients(first *pgx.Batch) {
	if len(b.byID) == 0 {
		return
	}

	var ids []trace.ClientID
	var names [][]byte
	var had []int64
	for id, w := range b.byID {
		w.had = b.t.clients.get(id)
		ids = append(ids, id)
		names = append(names, w.key)
		had = append(had, w.had.version)
		b.clients[id] = "" // until it is found
	}

	first.Queue(registrationKeysByID, names, had).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var i, version int64
			var key, body []byte
			if err := rows.Scan(&i, &key, &version, &body); err != nil {
				return err
			}
			id := ids[i-1]
			b.clients[id] = string(key)
			b.keys[string(key)] = resolve(b.t.clients, id, b.byID[id].had, version, body, b.t.parseClient)
		}
		return rows.Err()
	})
}

// registrationAt returns the registration with a key, which work wanted, or nil.
func (b *trustTx) registrationAt(key []byte) (*oauth.Registration, error) {
	f := b.keys[string(key)]
	return f.value, f.err
}

// registration returns a client's registration as the transaction sees it, or nil.
func (b *trustTx) registration(id trace.ClientID) (*oauth.Registration, error) {
	key, known := b.clients[id]
	if !known {
		b.wantClient(id)
		one := &trustTx{
			t:       b.t,
			keys:    map[string]found[oauth.Registration]{},
			clients: map[trace.ClientID]string{},
			byID:    map[trace.ClientID]*rowLookup[oauth.Registration]{id: b.byID[id]},
		}
		query := &pgx.Batch{}
		one.queueClients(query)
		if err := b.send(query); err != nil {
			return nil, err
		}

		key = one.clients[id]
		b.clients[id] = key
		if key != "" {
			b.keys[key] = one.keys[key]
		}
	}

	if key == "" {
		return nil, nil
	}
	f := b.keys[key]
	if f.err == nil && (f.value == nil || f.value.ID != id) {
		return nil, nil
	}
	return f.value, f.err
}

// putRegistration stores a registration in the place of the former one with its key.
func (b *trustTx) putRegistration(key []byte, r *oauth.Registration) error {
	body, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}

	var expires *int64
	if at := r.LeafExpires(); !at.IsZero() {
		second := max(at.Unix(), 0)
		expires = &second
	}
	b.put(`insert into registration (key, client_id, version, expires, body)
		values ($1, $2, nextval('versions'), $3, $4)
		on conflict (key) do update set client_id = excluded.client_id, version = excluded.version,
			expires = excluded.expires, body = excluded.body`,
		key, []byte(r.ID), expires, body)

	b.clients[r.ID] = string(key)
	b.keys[string(key)] = found[oauth.Registration]{value: r}
	return nil
}

func (b *trustTx) dropRegistration(key []byte) {
	b.put("delete from registration where key = $1", key)
	b.keys[string(key)] = found[oauth.Registration]{}
}

// write notes that work changes something.
func (b *trustTx) write() {
	b.wrote = true
	b.dirty = true
}

// put has a statement done before the next that reads.
func (b *trustTx) put(statement string, args ...any) {
	b.write()
	b.out.Queue(statement, args...)
}

// send does what waits to be written and then other statements, in one round trip.
func (b *trustTx) send(last *pgx.Batch) error {
	if b.broken == nil {
		ctx, cancel := context.WithTimeout(context.Background(), trustTrip)
		defer cancel()

		all := b.pending()
		all.QueuedQueries = append(all.QueuedQueries, last.QueuedQueries...)
		if err := b.conn.SendBatch(ctx, all).Close(); err != nil {
			b.broken = b.t.db.health.commit(failed(err))
		}
	}

	if b.broken != nil {
		b.wrote = true // the work before it must be done again
	}
	return b.broken
}

// exec does a statement now, and returns how many rows it changed.
func (b *trustTx) exec(statement string, args ...any) (rows int64, err error) {
	b.write()
	one := &pgx.Batch{}
	one.Queue(statement, args...).Exec(func(tag pgconn.CommandTag) error {
		rows = tag.RowsAffected()
		return nil
	})
	return rows, b.send(one)
}

// query reads rows now.
func (b *trustTx) query(visit func(pgx.Rows) error, statement string, args ...any) error {
	one := &pgx.Batch{}
	var own error
	one.Queue(statement, args...).Query(func(rows pgx.Rows) error {
		for rows.Next() && own == nil {
			own = visit(rows)
		}
		return rows.Err()
	})
	if err := b.send(one); err != nil {
		return err
	}
	return own
}

// pending returns what waits to be written, and forgets it.
func (b *trustTx) pending() *pgx.Batch {
	all := &pgx.Batch{}
	if len(b.free) > 0 {
		all.Queue("delete from spent where key = any($1)", b.free)
	}
	b.spent.queue(all)
	b.tokens.queue(all)
	all.QueuedQueries = append(all.QueuedQueries, b.out.QueuedQueries...)
	b.free, b.spent, b.tokens, b.out = nil, spentRows{}, tokenRows{}, pgx.Batch{}
	return all
}

// settle does what waits to be written and commits, in one round trip. It returns the
// error of a statement that the server refused; the commit's is kept for Commit.
func (b *trustTx) settle() error {
	if b.broken != nil {
		return b.broken
	}

	all := b.pending()
	if b.state != b.stateWas {
		all.Queue(
			"update state set floor = $1, token = $2, spent = $3",
			b.state.floor,
			b.state.token,
			max(b.state.spent, 0),
		)
	}
	if !b.dirty {
		return nil // nothing was written: rollback gives the lock back
	}

	ctx, cancel := context.WithTimeout(context.Background(), trustTrip)
	defer cancel()
	err := b.finish(ctx, all)
	switch {
	case err == nil:
	case refused(err):
		return failed(err)
	default:
		b.failure = &failure{
			err:     err,
			unknown: !pgconn.SafeToRetry(err), // then nothing was sent
		}
	}
	return nil
}

// finish sends what is left to do with the commit.
func (b *trustTx) finish(ctx context.Context, all *pgx.Batch) error {
	if b.t.db.commitInTest != nil {
		if err := b.conn.SendBatch(ctx, all).Close(); err != nil {
			return err
		}
		return b.t.db.commitInTest(ctx, b.tx)
	}

	var done pgconn.CommandTag
	all.Queue("commit").Exec(func(tag pgconn.CommandTag) error {
		done = tag
		return nil
	})
	err := b.conn.SendBatch(ctx, all).Close()
	if err != nil {
		return err
	}

	b.tx = nil
	if done.String() != "COMMIT" {
		return pgx.ErrTxCommitRollback
	}
	return nil
}

// rollback ends a transaction that is not committed, and gives the connection back.
func (b *trustTx) rollback() {
	if b.conn == nil {
		return
	}

	if b.tx != nil {
		ctx, cancel := context.WithTimeout(context.Background(), trustTrip)
		defer cancel()
		_ = b.tx.Rollback(ctx) // one that fails closes the connection
	}
	b.conn.Release()
	b.conn, b.tx = nil, nil
}

// tokenRow is a token that is to be stored.
type tokenRow struct {
	token *oauth.Token
	body  []byte
}

func newTokenRow(token *oauth.Token) (tokenRow, error) {
	body, err := stored.AppendToken(nil, token)
	if err != nil {
		return tokenRow{}, fmt.Errorf("store: %w", err)
	}
	return tokenRow{
		token: token,
		body:  body,
	}, nil
}

// tokenRows are tokens that wait to be written.
type tokenRows struct {
	minutes, numbers                []int64
	hashes, clients, grants, bodies [][]byte
}

func (r *tokenRows) queue(b *pgx.Batch) {
	if len(r.numbers) > 0 {
		b.Queue(`insert into token (minute, number, hash, client_id, grant_id, body)
			select * from unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bytea[], $5::bytea[], $6::bytea[])`,
			r.minutes, r.numbers, r.hashes, r.clients, r.grants, r.bodies)
	}
}

// putToken stores a token if its client still has the registration from which it was
// made.
func (b *trustTx) putToken(row tokenRow) (h oauth.Handle, err error) {
	token := row.token
	r, err := b.registration(token.ClientID)
	if err != nil {
		return h, err
	}
	if r == nil || r.Epoch != token.Epoch {
		return h, &refusal{oauth.ErrNoRegistration}
	}
	if b.state.token == math.MaxInt64 {
		return h, errors.New("store: no number is left for a token")
	}

	b.write()
	b.state.token++
	minute := stored.Minute(token.Expires)
	b.t.handles.Seal(&h, minute, uint64(b.state.token))

	rows := &b.tokens
	rows.minutes = append(rows.minutes, int64(minute))
	rows.numbers = append(rows.numbers, b.state.token)
	rows.hashes = append(rows.hashes, token.Hash[:])
	rows.clients = append(rows.clients, []byte(token.ClientID))
	rows.grants = append(rows.grants, stored.GrantKey(token.Grant))
	rows.bodies = append(rows.bodies, row.body)
	return h, nil
}

// dropToken removes a token if there is one and it belongs to owner.
func (b *trustTx) dropToken(k oauth.TokenKey, owner trace.ClientID) {
	if minute, number, ok := b.t.place(k.Handle); ok {
		b.put(
			"delete from token where minute = $1 and number = $2 and hash = $3 and client_id = $4",
			minute,
			number,
			k.Hash[:],
			[]byte(owner),
		)
	}
}
