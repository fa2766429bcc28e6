package postgres

import (
	"context"
	"crypto/x509"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"fhirdest.example/udap/fetch"
)

var (
	_ fetch.ListStore    = (*Trust)(nil)
	_ fetch.WatchedStore = (*Trust)(nil)
)

// listsChannel has the names of lists that were stored.
const listsChannel = "trust_lists"

// LoadCRL returns a revocation list as fetch.ListStore wants it.
func (t *Trust) LoadCRL(name string) (l fetch.StoredCRL, ok bool, err error) {
	err = t.db.read(context.Background(), func(ctx context.Context) error {
		ok = false
		return t.db.eachRow(ctx, func(rows pgx.Rows) error {
			var second int64
			ok = true
			err := rows.Scan(&second, &l.DER)
			l.Fetched = time.Unix(second, 0).UTC()
			return err
		}, "select fetched, der from list where key = $1", digest(name))
	})
	return l, ok && err == nil, err
}

// SaveCRL keeps a revocation list in the place of the former one. If another
// destination has stored one since that this one may not follow, it returns
// fetch.ErrOlder.
func (t *Trust) SaveCRL(name string, l fetch.StoredCRL) error {
	next, err := x509.ParseRevocationList(l.DER)
	if err != nil {
		return err
	}

	return t.commits.Do(context.Background(), func(b *trustTx) error {
		var der []byte
		if err := b.query(func(rows pgx.Rows) error {
			return rows.Scan(&der)
		}, "select der from list where key = $1", digest(name)); err != nil {
			return err
		}
		// What cannot be parsed counts as none, as in package fetch.
		if old, err := x509.ParseRevocationList(der); err == nil && fetch.Older(next, old) {
			return fetch.ErrOlder
		}

		b.put(`insert into list (key, name, fetched, der) values ($1, $2, $3, $4)
			on conflict (key) do update set fetched = excluded.fetched, der = excluded.der`,
			digest(name), []byte(name), l.Fetched.Unix(), l.DER)
		b.put("select pg_notify($1, $2)", listsChannel, notice(name))
		return nil
	})
}

// notice returns what is sent about a list: its name or, if that cannot be sent,
// nothing.
func notice(name string) string {
	const most = 7000 // bytes; PostgreSQL sends less than 8000
	if len(name) > most || !utf8.ValidString(name) {
		return ""
	}
	return name
}

// WatchCRLs implements fetch.WatchedStore.
func (t *Trust) WatchCRLs(ctx context.Context, stored func(name string)) error {
	const pause = time.Second
	for {
		t.listen(ctx, stored)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// listen calls stored for each list that is stored, until the connection is lost. What
// was stored before may have been missed.
func (t *Trust) listen(ctx context.Context, stored func(name string)) {
	settings := t.db.pool.Config().ConnConfig
	settings.DialFunc = unbounded()
	conn, err := pgx.ConnectConfig(ctx, settings)
	if err != nil {
		return // the next attempt follows
	}
	defer hangUp(conn)

	if _, err := conn.Exec(ctx, "listen "+listsChannel); err != nil {
		return
	}
	stored("")
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return
		}
		stored(n.Payload)
	}
}
