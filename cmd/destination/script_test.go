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
func TestScripts(t *testing.T) {
	w := newEnv(t)
	path := config(t, w)
	var d *servertest.Destination
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
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
