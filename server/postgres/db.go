package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Config is where the database is, and how it is used.
type Config struct {
	// URL is postgres://USER@HOST:PORT/DATABASE?sslmode=verify-full…, without a
	// password. Parameters are those of libpq.
	URL string
	// PasswordFile has the password as its first line. Empty: PGPASSFILE or
	// ~/.pgpass may have it.
	PasswordFile string
	// Name is that of this destination among those that share the database. It
	// names its audit chain.
	Name string
	// Connections bounds how many connections each store opens; 0 means 16.
	Connections int
	// OnlyReads has the stores opened on a server that accepts no writes, too.
	OnlyReads bool

	// Cache bounds the bytes of resources and of their index that a destination keeps
	// in memory; 0 means 64 MiB.
	Cache int

	// commit commits in the place of pgx.Tx.Commit, for tests.
	commit func(context.Context, pgx.Tx) error

	// now is the clock that is compared with the database's, for tests; nil: time.Now.
	now func() time.Time

	// server is what several stores share; nil: the store has its own.
	server *server
}

const (
	defaultConnections = 16
	// connectTimeout bounds how long connecting may last, over all hosts of the URL.
	connectTimeout = 5 * time.Second
)

// sessionLimits end what a destination that died or was cut off has left open at the
// server, so that the others do not wait for it.
var sessionLimits = map[string]string{
	"application_name":                    "destination",
	"idle_in_transaction_session_timeout": "10s",
	"tcp_keepalives_idle":                 "5",
	"tcp_keepalives_interval":             "2",
	"tcp_keepalives_count":                "3",
	"tcp_user_timeout":                    "10s",
}

// lockTimeout bounds how long a request waits for what another destination has locked,
// and may have been cut off with.
const lockTimeout = "4s"

// sessionPlans have the same few statements planned once, and always by their keys:
// tables that were empty when that was done, or were never analyzed, make no difference.
var sessionPlans = map[string]string{
	"plan_cache_mode": "force_generic_plan",
	"enable_seqscan":  "off",
	"jit":             "off",
}

// IsURL reports whether a setting names a database rather than a directory.
func IsURL(data string) bool {
	return strings.HasPrefix(data, "postgres://") || strings.HasPrefix(data, "postgresql://")
}

// parse returns the settings of connections whose tables are those of a schema.
func (c Config) parse(schema string) (*pgxpool.Config, error) {
	if u, err := url.Parse(c.URL); err != nil {
		return nil, hinted("write postgres://USER@HOST:PORT/DATABASE", "the URL of the database cannot be parsed")
	} else if _, has := u.User.Password(); has || u.Query().Has("password") {
		return nil, hinted(
			"write the password to a file of its own, or to one that PGPASSFILE names",
			"the URL of the database has a password",
		)
	}

	settings, err := pgxpool.ParseConfig(c.URL)
	if err != nil {
		return nil, hinted("write postgres://USER@HOST:PORT/DATABASE", "the URL of the database: %v", err)
	}

	if c.PasswordFile != "" {
		text, err := os.ReadFile(c.PasswordFile)
		if err != nil {
			return nil, hinted("name a file that this account can read", "the database's password: %v", err)
		}
		line, _, _ := strings.Cut(string(text), "\n")
		settings.ConnConfig.Password = strings.TrimSuffix(line, "\r")
	}

	for _, values := range []map[string]string{sessionLimits, sessionPlans} {
		for name, value := range values {
			if _, set := settings.ConnConfig.RuntimeParams[name]; !set {
				settings.ConnConfig.RuntimeParams[name] = value
			}
		}
	}
	settings.ConnConfig.RuntimeParams["search_path"] = schema
	settings.ConnConfig.DialFunc = unbounded()
	settings.ConnConfig.ConnectTimeout = connectTimeout / time.Duration(len(hostsOf(settings.ConnConfig)))
	settings.MaxConns = int32(c.Connections)
	if c.Connections == 0 {
		settings.MaxConns = defaultConnections
	}

	return settings, nil
}

// database is the connections of one store.
type database struct {
	pool   *pgxpool.Pool
	parked parking // of its connections
	schema string
	health *health
	// probing is closed with the pool; nil: others use it, too.
	probing *server
	// arrivals examines new connections.
	arrivals *arrivals
	commit   func(context.Context, pgx.Tx) error
	// commitInTest is commit where a test has replaced it; else nil.
	commitInTest func(context.Context, pgx.Tx) error
}

// open connects to the database and verifies that a schema is as this program needs
// it. Nothing is made: see Migrate. Later parameters replace those of sessionLimits.
func open(
	ctx context.Context, c Config, schema string, parameters ...map[string]string,
) (*database, error) {
	settings, err := c.parse(schema)
	if err != nil {
		return nil, err
	}
	for _, p := range parameters {
		maps.Copy(settings.ConnConfig.RuntimeParams, p)
	}

	arrivals := &arrivals{
		schema:    schema,
		onlyReads: c.OnlyReads,
	}
	probing, server := (*server)(nil), c.server
	if server == nil {
		if server, err = newServer(c, false); err != nil {
			return nil, err
		}
		probing = server
	}
	pool, err := newPool(ctx, settings, arrivals, server)
	if err != nil {
		return nil, unreachable(err)
	}

	db := &database{
		pool:    pool,
		schema:  schema,
		health:  &health{},
		probing: probing,
		commit:  c.commit,

		arrivals:     arrivals,
		commitInTest: c.commit,
	}
	if db.commit == nil {
		db.commit = func(ctx context.Context, tx pgx.Tx) error { return tx.Commit(ctx) }
	}

	if err := db.checkVersion(ctx); err != nil {
		_ = db.Close() // never fails
		return nil, err
	}
	return db, nil
}

// Close ends the connections.
func (d *database) Close() error {
	d.pool.Close()
	if d.probing != nil {
		d.probing.Close()
	}
	return nil
}

// view passes f one state of the database.
func (d *database) view(ctx context.Context, f func(pgx.Tx) error) error {
	err := pgx.BeginTxFunc(ctx, d.pool, pgx.TxOptions{
		IsoLevel:   pgx.RepeatableRead,
		AccessMode: pgx.ReadOnly,
	}, f)
	return d.health.read(storeError(err))
}

// read does something that reads by one statement, once more when the connection was
// lost. The statement must use the context that it gets.
func (d *database) read(ctx context.Context, statement func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}

	err := d.again(func() error {
		bounded, cancel := context.WithTimeout(ctx, trustTrip)
		defer cancel()
		return statement(bounded)
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return d.health.read(err)
}

// eachRow calls visit with the rows that a statement selects.
func (d *database) eachRow(
	ctx context.Context, visit func(pgx.Rows) error, statement string, args ...any,
) error {
	rows, err := d.pool.Query(ctx, statement, args...)
	if err != nil {
		return err
	}
	defer rows.Close()

	for rows.Next() {
		if err := visit(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// attempts bounds how often a transaction is run again after a conflict.
const attempts = 10

// update does f's changes all or not at all, and returns when they are durable. f is
// run again after a conflict, so that it must set anew whatever it sets outside. The
// error is an oauth.ErrUnknown when it is not known whether the commit took effect.
func (d *database) update(ctx context.Context, f func(pgx.Tx) error) (err error) {
	for range attempts {
		if err = d.try(ctx, f); !conflicts(err) {
			break
		}
	}
	return d.health.commit(err)
}

func (d *database) try(ctx context.Context, f func(pgx.Tx) error) error {
	tx, err := d.pool.Begin(ctx)
	if err != nil {
		return storeError(err)
	}

	if err := f(tx); err != nil {
		_ = tx.Rollback(context.WithoutCancel(ctx)) // a connection that is lost has rolled back
		return storeError(err)
	}

	// What has begun is finished: a caller who leaves must not make the outcome unknown.
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
	defer cancel()
	if err := d.commit(ending, tx); err != nil {
		_ = tx.Rollback(ending)
		return commitFailed(err)
	}
	return nil
}

// hinted returns an error with what to do about it.
func hinted(hint, format string, args ...any) error {
	return &Error{
		Err:  fmt.Errorf(format, args...),
		Hint: hint,
	}
}

// Error is an error of the database with what to do about it.
type Error struct {
	Err  error
	Hint string
}

func (e *Error) Error() string { return e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// unreachable is the error for a database that cannot be reached.
func unreachable(err error) error {
	if e := (*Error)(nil); errors.As(err, &e) {
		return &Error{
			Err:  err,
			Hint: e.Hint,
		}
	}
	e := &Error{
		Err:  fmt.Errorf("the database: %w", err),
		Hint: "start PostgreSQL, and look at data: its host, port, account and password file",
	}
	var answered *pgconn.PgError
	if errors.As(err, &answered) && answered.Code == "53300" { // too_many_connections
		e.Hint = "raise max_connections at the server, or lower postgres.connections of the destinations on it"
	}
	return e
}
