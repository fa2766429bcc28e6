package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"fhirdest.example/cmd/internal/supervise"
	"fhirdest.example/cmd/internal/testbed"
)

// TestMain builds the programs once, beside the test's own, where -separate
// finds them.
func TestMain(m *testing.M) {
	self, err := os.Executable()
	if err == nil {
		_, err = supervise.Build(context.Background(), filepath.Dir(self), testbed.Programs...)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
