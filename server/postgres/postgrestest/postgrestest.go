// Package postgrestest gives each test an empty database of a real PostgreSQL server.
package postgrestest

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"fhirdest.example/server/postgres"
	"fhirdest.example/server/postgres/local"
)

// Main runs a package's tests, and stops the server that they used. Call it from
// TestMain.
func Main(m *testing.M) {
	os.Exit(Tests{m}.Run())
}

// Tests are a package's tests, for what calls their Run itself.
type Tests struct{ M *testing.M }

// Run runs the tests, and stops the server that they used.
func (t Tests) Run() int {
	code := t.M.Run()
	if server != nil {
		if err := server.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "postgrestest:", err)
			code = max(code, 1)
		}
	}
	if dir != "" {
		_ = os.RemoveAll(dir) // a temporary one
	}
	return code
}

var (
	dir    string
	server *local.Server
	number atomic.Int64
)

// running starts the server of this process, with a template database that has the
// schemas.
var running = sync.OnceValue(func() error {
	var err error
	if dir, err = os.MkdirTemp("", "pg"); err != nil {
		return err
	}

	ctx := context.Background()
	if server, err = local.Start(ctx, dir, local.Options{}); err != nil {
		return err
	}
	if err := admin(ctx, "create database template"); err != nil {
		return err
	}
	_, err = postgres.Migrate(ctx, postgres.Config{URL: server.URL("template")})
	return err
})

// admin runs one statement as the server's superuser.
func admin(ctx context.Context, statement string) error {
	conn, err := pgx.Connect(ctx, server.URL("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)

	_, err = conn.Exec(ctx, statement)
	return err
}

// New returns the URL of a database with empty schemas, for one test.
func New(t testing.TB) string {
	t.Helper()
	return create(t, "template")
}

// Empty returns the URL of a database without schemas.
func Empty(t testing.TB) string {
	t.Helper()
	return create(t, "template1")
}

func create(t testing.TB, template string) string {
	t.Helper()
	if err := running(); err != nil {
		t.Fatal(err)
	}

	name := fmt.Sprintf("test%d", number.Add(1))
	if err := admin(t.Context(), "create database "+name+" template "+template); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := admin(context.Background(), "drop database "+name+" with (force)"); err != nil {
			t.Error(err)
		}
	})
	return server.URL(name)
}

// Server returns the server that the databases of this process are on. What is done to
// it concerns all of its tests.
func Server(t testing.TB) *local.Server {
	t.Helper()
	if err := running(); err != nil {
		t.Fatal(err)
	}
	return server
}
