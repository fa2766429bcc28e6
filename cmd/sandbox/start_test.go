package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fhirdest.example/cmd/internal/supervise"
	"fhirdest.example/cmd/internal/testbed"
)

func TestInterruptBeforeReadyIsNotSuccess(t *testing.T) {
	temp := ownTemp(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	code, _, _ := call(t, ctx, append([]string{"-patients", "3"}, anywhere...)...)
	if code == 0 {
		t.Error("exit 0 although nothing was shown")
	}
	nothingLeft(t, temp)
}

// An actor that cannot start says why, inside this program and as one of its own; what it
// refuses in its configuration is exit code 2.
func TestActorThatCannotStartSaysWhy(t *testing.T) {
	// Covers: case 326
	for name, separate := range map[string]bool{"inside": false, "a program": true} {
		t.Run(name, func(t *testing.T) {
			ownTemp(t)
			o := testbed.Config{Host: "localhost", Patients: 3, Separate: separate}
			w := newEnv(t, o, nil)
			bed, err := testbed.New(t.Context(), o, w, func(string, ...any) {}, time.Now)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(filepath.Join(w.Dir, "a-root.pem")); err != nil {
				t.Fatal(err)
			}

			err = bed.Supervisor.StartAll(t.Context())
			if err == nil || !strings.Contains(err.Error(), "destination did not start") ||
				!strings.Contains(err.Error(), "a-root.pem") || !complained(err) {
				t.Errorf("%v", err)
			}
			if err := bed.Close(); err != nil && !strings.Contains(err.Error(), "a-root.pem") {
				t.Error(err)
			}
		})
	}
}

func TestProgramsAreFoundOrBuilt(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	found, err := supervise.Find(t.Context(), t.TempDir(), testbed.Programs...)
	if err != nil || found["gateway"] != filepath.Join(filepath.Dir(self), "gateway") {
		t.Errorf("the programs beside this one are not used: %v %v", found, err)
	}

	t.Chdir(t.TempDir()) // outside of the module
	if _, err = supervise.Build(t.Context(), t.TempDir(), testbed.Programs...); err == nil {
		t.Fatal("built outside of the module")
	}
}
