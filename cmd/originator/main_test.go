package main

import (
	"context"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"originator": func() { os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)) },
	})
}

func TestScripts(t *testing.T) {
	// Covers: diagnostics rows 4, 5
	testscript.Run(t, testscript.Params{Dir: "testdata/script"})
}

func TestEveryCommandHasHelp(t *testing.T) {
	for name := range commands {
		if commandUsage[name] == "" {
			t.Errorf("%s has no help", name)
		}
	}
	if len(commandUsage) != len(commands) {
		t.Errorf("%d commands, %d helps", len(commands), len(commandUsage))
	}
}
