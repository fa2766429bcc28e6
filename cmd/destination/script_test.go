package main

import (
	"context"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"fhirdest.example/server/servertest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"destination": func() {
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

func runScripts(t *testing.T, dir string) {
	t.Helper()
	w := newEnv(t)
	path := config(t, w)
	var d *servertest.Destination
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("D", w.Dir)
			e.Setenv("CONFIG", path)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"start": func(*testscript.TestScript, bool, []string) { d = w.Start(w.Listen()) },
			"stop":  func(*testscript.TestScript, bool, []string) { d.Stop() },
		},
	})
}
