package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/jackc/pgx/v5"
)

//go:embed steps
var embedded embed.FS

// steps has a directory for each schema. Its files, in the order of their names,
// bring an empty schema to the present one, a version each. A step that was released
// is never changed. Tests have later steps.
var steps fs.FS = embedded

// schemas are those of a destination, in the order in which they are made.
var schemas = []string{"trust", "fhir", "jobs"}

// migrating is the advisory lock of who changes the schemas.
const migrating = 0x66686972

// versionOf returns the number of steps of a schema.
func versionOf(schema string) int {
	files, _ := fs.ReadDir(steps, "steps/"+schema) // of the program itself
	return len(files)
}

// Migrated is a schema that Migrate brought to the present version.
type Migrated struct {
	Schema   string
	From, To int // versions; 0: there was none
}

// Migrate makes the schemas of an empty database, and brings those of an earlier
// version of this program to the present one, all or not at all. Destinations may be
// running: those of the earlier version refuse to start again afterwards.
func Migrate(ctx context.Context, c Config) (done []Migrated, err error) {
	settings, err := c.parse("public")
	if err != nil {
		return nil, err
	}
	settings.ConnConfig.RuntimeParams["idle_in_transaction_session_timeout"] = "0"

	conn, err := pgx.ConnectConfig(ctx, settings.ConnConfig)
	if err != nil {
		return nil, unreachable(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))

	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		done = nil
		if _, err := tx.Exec(ctx, "select pg_advisory_xact_lock($1)", migrating); err != nil {
			return err
		}
		for _, schema := range schemas {
			m, err := migrate(ctx, tx, schema)
			if err != nil {
				return fmt.Errorf("schema %s: %w", schema, err)
			}
			done = append(done, m)
		}
		return nil
	})
	return done, err
}

// migrate brings one schema to the present version.
func migrate(ctx context.Context, tx pgx.Tx, schema string) (m Migrated, err error) {
	m.Schema = schema
	m.To = versionOf(schema)
	name := pgx.Identifier{schema}.Sanitize()
	if _, err = tx.Exec(ctx, "create schema if not exists "+name+"; set local search_path to "+name+
		"; create table if not exists version (version int not null)"); err != nil {
		return m, err
	}
	if m.From, err = readVersion(ctx, tx); err != nil {
		return m, err
	}
	if m.From > m.To {
		return m, newer(schema, m.From, m.To)
	}

	files, err := fs.ReadDir(steps, "steps/"+schema)
	if err != nil {
		return m, err
	}
	for _, file := range files[m.From:] {
		text, err := fs.ReadFile(steps, "steps/"+schema+"/"+file.Name())
		if err != nil {
			return m, err
		}
		if _, err := tx.Exec(ctx, string(text)); err != nil {
			return m, fmt.Errorf("%s: %w", file.Name(), err)
		}
	}

	_, err = tx.Exec(ctx, "delete from version")
	if err == nil {
		_, err = tx.Exec(ctx, "insert into version values ($1)", m.To)
	}
	return m, err
}

// querier is a connection, a pool or a transaction.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func readVersion(ctx context.Context, q querier) (version int, err error) {
	err = q.QueryRow(ctx, "select version from version").Scan(&version)
	if errors.Is(err, pgx.ErrNoRows) {
		err = nil
	}
	return version, err
}

// checkVersion verifies that the schema is the one that this program needs.
func (d *database) checkVersion(ctx context.Context) error {
	var exists bool
	err := d.pool.QueryRow(ctx, "select to_regclass($1) is not null", d.schema+".version").Scan(&exists)
	if err != nil {
		return unreachable(err)
	}

	version := 0
	if exists {
		if version, err = readVersion(ctx, d.pool); err != nil {
			return unreachable(err)
		}
	}

	if version > versionOf(d.schema) {
		return newer(d.schema, version, versionOf(d.schema))
	}
	return older(d.schema, version)
}

// older is the error for a schema that Migrate must change; nil when it need not.
func older(schema string, version int) error {
	if version >= versionOf(schema) {
		return nil
	}
	return hinted(
		"run `destination migrate -config FILE`",
		"the schema %s of the database has version %d, and this program needs %d",
		schema,
		version,
		versionOf(schema),
	)
}

// examineSchemas returns why the schemas cannot be used, and that one is of a later
// program: a destination that runs goes on then (see Migrate), and does not start again.
func examineSchemas(ctx context.Context, conn *pgx.Conn) (wrong, later, err error) {
	var missing []string
	err = conn.QueryRow(ctx, `select coalesce(array_agg(s), '{}') from unnest($1::text[]) s
		where to_regclass(quote_ident(s) || '.version') is null`, schemas).Scan(&missing)
	if err != nil {
		return nil, nil, err
	}
	if len(missing) > 0 {
		return hinted(
			"put back what was renamed or dropped; of an empty database, run `destination migrate -config FILE`",
			"the database lacks schemas: %s",
			strings.Join(missing, ", "),
		), nil, nil
	}

	for _, schema := range schemas {
		var version int
		err := conn.QueryRow(ctx, "select coalesce(max(version), 0) from "+schema+".version").Scan(&version)
		if err != nil {
			return nil, nil, err
		}
		wrong = errors.Join(wrong, older(schema, version))
		if known := versionOf(schema); version > known {
			later = errors.Join(later, newer(schema, version, known))
		}
	}
	return wrong, later, nil
}

func newer(schema string, version, want int) error {
	return hinted(
		"use the program that made it, or a later one",
		"the schema %s of the database has version %d, and this program knows %d",
		schema,
		version,
		want,
	)
}
