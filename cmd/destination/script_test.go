package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/rogpeppe/go-internal/testscript"

	"fhirdest.example/server/postgres/postgrestest"
	"fhirdest.example/server/servertest"
)

func TestMain(m *testing.M) {
	testscript.Main(postgrestest.Tests{M: m}, map[string]func(){"destination": func() {
		os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}})
}

// TestScripts runs whole sessions of the command line. $D is the directory of a
// destination that `start` and `stop` start and stop.
//
// Covers: case 329, case 331
func TestScripts(t *testing.T) { runScripts(t, "testdata/script") }

// TestAuditScripts runs those of audit, with a destination of their own.
//
// Covers: FS-401
func TestAuditScripts(t *testing.T) { runScripts(t, "testdata/audit") }

// TestDatabaseScripts runs those of a destination that moves to a database and back:
// $DATABASE is its configuration there.
//
// Covers: case 329
func TestDatabaseScripts(t *testing.T) { runScripts(t, "testdata/database") }

func runScripts(t *testing.T, dir string) {
	t.Helper()
	w := newEnv(t)
	path := config(t, w)
	database := filepath.Join(w.Dir, "database.yaml")
	if dir == "testdata/database" {
		onDatabase(t, w, database)
	}
	var d *servertest.Destination
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("D", w.Dir)
			e.Setenv("CONFIG", path)
			e.Setenv("DATABASE", database)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"start": func(*testscript.TestScript, bool, []string) { d = w.Start(w.Listen()) },
			"stop":  func(*testscript.TestScript, bool, []string) { d.Stop() },
		},
	})
}

// onDatabase writes the configuration of the same destination on an empty database, and
// returns its URL.
func onDatabase(t *testing.T, w *servertest.Env, path string) (url string) {
	t.Helper()
	c := w.Config
	c.Data = postgrestest.Empty(t)
	c.Postgres.Name = "east"
	data, err := yaml.Marshal(c)
	if err == nil {
		err = os.WriteFile(path, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c.Data
}
