package testbed

import (
	"context"
	"errors"
	"os"

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

// startDatabase starts a PostgreSQL server in the directory, and makes the database
// and its schemas, which stay for the next start.
func startDatabase(ctx context.Context, w *Env) (*local.Server, error) {
	s, err := local.Start(ctx, w.path(databaseDir), local.Options{Durable: true})
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
	return s, nil
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
	return st.database.Stop()
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
