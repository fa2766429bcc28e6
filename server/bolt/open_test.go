package bolt

import (
	"bytes"
	"errors"
	"fmt"
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

// TestFreePagesAreFoundAgain ends a program without closing its file, and compares the
// list of free pages that Open stores with what Bolt itself finds.
func TestFreePagesAreFoundAgain(t *testing.T) {
	for _, many := range []bool{false, true} {
		for _, deep := range []bool{false, true} {
			t.Run(fmt.Sprintf("many %v, deep %v", many, deep), func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "trust.bolt")
				leavePagesFree(t, path, many)
				want := freeByBolt(t, path)
				if want < 10 || many && want < 0xFFFF {
					t.Fatalf("only %d pages are free", want)
				}

				f, err := os.OpenFile(path, os.O_RDWR, 0)
				if err != nil {
					t.Fatal(err)
				}
				info, err := f.Stat()
				if err != nil {
					t.Fatal(err)
				}

				w, err := checkPageFile(f, info.Size(), deep)
				if err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(w.storeFreePages(f), f.Close()); err != nil {
					t.Fatal(err)
				}
				checkFreePages(t, path, want)
			})
		}
	}
}

// A full disk keeps nobody from opening a file: it is read as it is.
func TestFreePagesHaveNoRoom(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trust.bolt")
	leavePagesFree(t, path, false)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}

	f, err := os.Open(path) // nothing can be written to it
	if err != nil {
		t.Fatal(err)
	}
	w, err := checkPageFile(f, int64(len(before)), true)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.storeFreePages(f), f.Close()); err != nil {
		t.Errorf("the list cannot be written: %v", err)
	}

	after, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file is not as it was: %v", err)
	}
	db, err := Open(path, trustSchema(), Options{NoFreelistSync: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

// leavePagesFree makes a file with rows in buckets of all forms, and removes some.
func leavePagesFree(t *testing.T, path string, many bool) {
	t.Helper()
	db, err := Open(path, trustSchema(), Options{
		NoFreelistSync: true,
		NoSync:         true,
	})
	if err != nil {
		t.Fatal(err)
	}

	rows := 3000
	if many {
		rows = 40_000
	}
	fill := func(tx *bbolt.Tx) error {
		minute, err := tx.Bucket(tokensBucket).CreateBucket([]byte("over"))
		if err != nil {
			return err
		}

		kept, err := tx.Bucket(spentBucket).CreateBucket([]byte("kept"))
		for i := range rows {
			large := bytes.Repeat([]byte{byte(i)}, 5000+i%3*4000) // goes on over further pages
			err = errors.Join(err,
				tx.Bucket(registrationsBucket).Put(number(uint64(i)), large[:5000]),
				minute.Put(number(uint64(i)), large),
				kept.Put(number(uint64(i)), large[:100]))
		}

		return err
	}

	drop := func(tx *bbolt.Tx) error {
		return errors.Join(
			tx.Bucket(tokensBucket).DeleteBucket([]byte("over")),
			tx.Bucket(registrationsBucket).Delete(number(7)))
	}
	if err := errors.Join(db.Update(fill), db.Update(drop), db.Close()); err != nil {
		t.Fatal(err)
	}
}

// freeByBolt returns how many pages Bolt finds free in a copy of a file.
func freeByBolt(t *testing.T, path string) (free int) {
	t.Helper()
	other := path + ".other"
	if err := copyFile(path, other); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(other, fileMode, Options{NoFreelistSync: true}.bolt())
	if err != nil {
		t.Fatal(err)
	}

	free = db.Stats().FreePageN
	if err := errors.Join(db.Close(), os.Remove(other)); err != nil {
		t.Fatal(err)
	}
	return free
}

// checkFreePages has Bolt check a file that must have a list of free pages, use them,
// and check it again.
func checkFreePages(t *testing.T, path string, want int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}

	if m, err := latestMeta(f, info.Size()); err != nil || m.freelist == noFreelist {
		t.Fatalf("the file has no list of free pages: %v", err)
	}

	db, err := bbolt.Open(path, fileMode, Options{NoFreelistSync: true}.bolt())
	if err != nil {
		t.Fatal(err)
	}
	if got := db.Stats().FreePageN; got != want {
		t.Errorf("%d pages are free, and Bolt finds %d", got, want)
	}

	for range 3 {
		if err := db.View(func(tx *bbolt.Tx) error {
			for problem := range tx.Check() {
				t.Error(problem)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}

		if err := db.Update(func(tx *bbolt.Tx) error {
			return tx.Bucket(clientsBucket).Put([]byte("key"), make([]byte, 1<<20))
		}); err != nil {
			t.Fatal(err)
		}
	}

	if err := errors.Join(db.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
}
