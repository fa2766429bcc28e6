package testbed

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"fhirdest.example/cmd/internal/supervise"
	"fhirdest.example/gateway/complaint"
	"fhirdest.example/server/postgres"
	"fhirdest.example/server/postgres/local"
)

const (
	// databaseDir is the directory of the PostgreSQL server, with its socket.
	databaseDir = "postgres"
	// databaseName is the database that the destinations share.
	databaseName = "destination"
)

// database is a PostgreSQL server that is started again when it ends by itself.
type database struct {
	dir  string
	say  func(string, ...any)
	stop context.CancelFunc
	done chan error // has how the server ended, after stop
}

// options are those of the sandbox's server.
var options = local.Options{Durable: true}

// startDatabase starts a PostgreSQL server in the directory, and makes the database
// and its schemas, which stay for the next start.
func startDatabase(ctx context.Context, w *Env, say func(string, ...any)) (*database, error) {
	s, err := local.Start(ctx, w.path(databaseDir), options)
	if errors.Is(err, local.ErrNotInstalled) {
		return nil, complaint.New("-store postgres: "+err.Error(), "apt-get install postgresql")
	}
	if err != nil && ctx.Err() != nil {
		return nil, err // an interrupt
	}
	if err != nil {
		return nil, complaint.New(
			"-store postgres: "+err.Error(),
			"give a -dir with a short path, at most 80 characters, that has room",
		)
	}

	w.database = s.URL(databaseName)
	if err := makeDatabase(ctx, s); err != nil {
		return nil, errors.Join(err, s.Stop())
	}

	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	d := &database{
		dir:  w.path(databaseDir),
		say:  say,
		stop: stop,
		done: make(chan error, 1),
	}
	go func() { d.done <- d.keep(running, s) }()
	return d, nil
}

// keep has a server run until ctx ends, and stops it then.
func (d *database) keep(ctx context.Context, s *local.Server) error {
	for {
		select {
		case <-ctx.Done():
			return s.Stop()
		case <-s.Ended():
		}
		d.say("PostgreSQL ended by itself; it is started again")

		if s = d.startAgain(ctx); s == nil {
			return nil
		}
		d.say("PostgreSQL runs again")
	}
}

// startAgain tries until the server runs: processes of the one that ended may be there
// for a while. It returns nil when ctx ends before.
func (d *database) startAgain(ctx context.Context) *local.Server {
	const pause = time.Second
	reported := false
	for {
		s, err := local.Start(ctx, d.dir, options)
		switch {
		case err == nil:
			return s
		case ctx.Err() != nil:
			return nil
		case !reported:
			reported = true
			d.say("PostgreSQL cannot be started: %v", err)
		}

		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

func makeDatabase(ctx context.Context, s *local.Server) error {
	conn, err := pgx.Connect(ctx, s.URL(local.Account))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)

	var exists bool
	const find = "select exists (select from pg_database where datname = $1)"
	if err := conn.QueryRow(ctx, find, databaseName).Scan(&exists); err != nil {
		return err
	}
	if !exists {
		if _, err := conn.Exec(ctx, "create database "+databaseName); err != nil {
			return err
		}
	}
	_, err = postgres.Migrate(ctx, postgres.Config{URL: s.URL(databaseName)})
	return err
}

// stopDatabase stops the server, if one was started.
func (st *Bed) stopDatabase() error {
	if st.database == nil {
		return nil
	}
	st.database.stop()
	return <-st.database.done
}

// second reports whether there is a second destination.
func second(w *Env) bool { return w.database != "" }

// privates are the addresses of the destinations.
func privates(w *Env) []string {
	all := []string{supervise.Dialable(w.Ports["private"].Address)}
	if second(w) {
		all = append(all, supervise.Dialable(w.Ports["private2"].Address))
	}
	return all
}

// removeSecond removes the configuration of a second destination that an earlier start
// has made.
func removeSecond(w *Env) error {
	err := os.Remove(w.path("destination2.yaml"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
