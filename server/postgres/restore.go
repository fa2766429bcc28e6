package postgres

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"fhirdest.example/fhir/trail"
	"fhirdest.example/server/carry"
)

// restored are the schemas that a restore makes anew. Work in the background is not in
// a backup.
var restored = []string{"trust", "fhir"}

// Restore puts the rows of a backup in the place of what a database has, all or not
// at all, and returns under what names the former schemas are kept. No destination may
// run on the database. The copy is read again, and compared with the backup, before it
// takes effect.
//
// As bolt.Restore describes, every JWT is refused that could have been accepted up to
// now, no token is restored, and the records that are given are stored with it.
func Restore(
	ctx context.Context, c Config, from carry.Source, now time.Time, p carry.Progress, records ...trail.Record,
) (kept []string, err error) {
	err = Alone(ctx, c, func(conn *pgx.Conn) error {
		return storeError(pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) (err error) {
			if kept, err = makeRoom(ctx, tx, now); err != nil {
				return err
			}
			if err := fill(ctx, tx, c.Name, from, now, p); err != nil {
				return err
			}
			return appendRecords(ctx, tx, c.Name, records)
		}))
	})
	if err != nil {
		return nil, err
	}
	return kept, nil
}

// appendRecords appends records to a destination's chain, in a transaction that was
// begun.
func appendRecords(ctx context.Context, tx pgx.Tx, name string, records []trail.Record) error {
	if _, err := tx.Exec(ctx, "set local search_path to fhir"); err != nil {
		return err
	}
	s := &FHIR{
		db: &database{
			schema: "fhir",
			health: &health{},
		},
		name:  name,
		cache: newCache(0),
	}
	st := s.newState(pgx.TxOptions{})
	st.tx = tx
	st.changing = newPending()

	b := &pgx.Batch{}
	st.opening(b)
	st.audit.queueEnds(b)
	if err := st.send(ctx, b); err != nil {
		return err
	}
	if err := st.opened(); err != nil {
		return err
	}
	if err := st.audit.Append(ctx, records); err != nil {
		return err
	}
	return st.settle()
}

// makeRoom gives the schemas that are there other names, and makes empty ones.
func makeRoom(ctx context.Context, tx pgx.Tx, now time.Time) (kept []string, err error) {
	if _, err := tx.Exec(ctx, "select pg_advisory_xact_lock($1)", migrating); err != nil {
		return nil, err
	}

	stamp := "_replaced_" + strings.ToLower(now.UTC().Format("20060102T150405.000Z"))
	stamp = strings.ReplaceAll(stamp, ".", "_")
	for _, schema := range restored {
		var there bool
		err := tx.QueryRow(ctx, "select to_regnamespace($1) is not null", schema).Scan(&there)
		if err != nil {
			return nil, err
		}
		if !there {
			continue
		}

		if _, err := tx.Exec(ctx, fmt.Sprintf("alter schema %s rename to %s", schema, schema+stamp)); err != nil {
			return nil, err
		}
		kept = append(kept, schema+stamp)
	}

	for _, schema := range schemas {
		if _, err := migrate(ctx, tx, schema); err != nil {
			return nil, fmt.Errorf("schema %s: %w", schema, err)
		}
	}
	return kept, nil
}

// fill copies a backup into empty schemas.
func fill(
	ctx context.Context, tx pgx.Tx, name string, from carry.Source, now time.Time, p carry.Progress,
) error {
	copied, err := carry.Copy(ctx, from, &newImage{
		tx:    tx,
		name:  name,
		since: now.UnixMicro(),
	}, p)
	if err != nil {
		return err
	}
	if err := carry.Verify(ctx, &Image{tx: tx}, copied, p); err != nil {
		return err
	}

	_, err = tx.Exec(ctx, "update trust.state set restored = greatest(restored, $1)", now.Unix())
	return err
}
