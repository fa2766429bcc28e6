package bolt

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

var testSchema = Schema{Kind: "test", Version: 3, Buckets: []string{"a", "b"}}

func TestOpenMakesAndReopens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.bolt")
	for range 2 {
		db, err := Open(path, testSchema, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}

	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Fatalf("left behind: %v, %v", entries, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != fileMode {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestOpenTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.bolt")
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() { errs[i] = createMissing(path, testSchema, Options{}) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}

	db, err := Open(path, testSchema, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefusesOtherFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}

	bolt := func(name string, s Schema, spoil func(*bbolt.Tx) error) string {
		path := filepath.Join(dir, name)
		db, err := Open(path, s, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(db.Update(spoil), db.Close()); err != nil {
			t.Fatal(err)
		}

		return path
	}

	nothing := func(*bbolt.Tx) error { return nil }
	for _, c := range []struct{ name, path, says string }{
		{"text", write("text", strings.Repeat("no database\n", 4096)), "is no Bolt file"},
		{"kind", bolt("kind", Schema{Kind: "other", Version: 3}, nothing), "no test file"},
		{"version", bolt("version", Schema{Kind: "test", Version: 4, Buckets: testSchema.Buckets}, nothing), "layout"},
		{"bucket", bolt("bucket", testSchema, func(tx *bbolt.Tx) error {
			return tx.DeleteBucket([]byte("b"))
		}), `no bucket "b"`},
		{"directory", filepath.Join(dir, "missing", "x.bolt"), "cannot be made"},
	} {
		t.Run(c.name, func(t *testing.T) {
			db, err := Open(c.path, testSchema, Options{LockTimeout: 50 * time.Millisecond})
			if err == nil {
				t.Errorf("%s: opened", c.name)
				_ = db.Close()
				return
			}

			var e *Error
			if !errors.As(err, &e) || !strings.Contains(e.Problem, c.says) || e.Hint == "" {
				t.Errorf("%s: %v (%+v)", c.name, err, e)
			}
		})
	}
}

// TestOpenInUse starts this test binary again, as a second process.
func TestOpenInUse(t *testing.T) {
	if path := os.Getenv("STORE_TEST_SECOND"); path != "" {
		_, err := Open(path, testSchema, Options{LockTimeout: 100 * time.Millisecond})
		var e *Error
		if errors.Is(err, ErrInUse) && errors.As(err, &e) && e.Hint != "" {
			os.Exit(42)
		}
		os.Exit(1)
	}

	path := filepath.Join(t.TempDir(), "test.bolt")
	db, err := Open(path, testSchema, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()

	second := exec.Command(os.Args[0], "-test.run=^TestOpenInUse$")
	second.Env = append(os.Environ(), "STORE_TEST_SECOND="+path)
	out, err := second.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 42 {
		t.Fatalf("second process: %v\n%s", err, out)
	}
}
