package main

import (
	"context"
	"os"
	"os/signal"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"community": func() {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		os.Exit(run(ctx, os.Args[1:], env{os.Stdin, os.Stdout, os.Stderr, time.Now}))
	}})
}

// TestScripts runs whole sessions of the command line.
func TestScripts(t *testing.T) {
	// Covers: cases 323, 324, 326, 331; D-17, D-19, D-24, D-49
	testscript.Run(t, testscript.Params{Dir: "testdata/script"})
}
