package gatewayd

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Every change of a file is seen, those that leave size and times as they were too.
//
// Covers: case 321
func TestChangedFiles(t *testing.T) {
	old := time.Now().Add(-time.Hour)
	for name, change := range map[string]func(t *testing.T, path string){
		"longer":                  func(t *testing.T, path string) { write(t, path, "more than before") },
		"of the same size":        func(t *testing.T, path string) { write(t, path, "BEFORE") },
		"with the time of before": func(t *testing.T, path string) { write(t, path, "BEFORE"); touch(t, path, old) },
		"removed":                 func(t *testing.T, path string) { remove(t, path) },
		"replaced": func(t *testing.T, path string) {
			write(t, path+".new", "BEFORE")
			touch(t, path+".new", old)
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
		},
		"another behind a link": func(t *testing.T, path string) {
			write(t, path+".new", "BEFORE")
			remove(t, path)
			if err := os.Symlink(path+".new", path); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			write(t, path, "before")
			touch(t, path, old)
			f := files{now: time.Now}
			paths := []string{path, path}
			f.changed(paths)
			if f.changed(paths) {
				t.Error("it has changed by itself")
			}

			change(t, path)
			if !f.changed(paths) {
				t.Error("the change is not seen")
			}
			if f.changed(paths) {
				t.Error("the change is seen twice")
			}

			write(t, path, "afterwards")
			if !f.changed(paths) {
				t.Error("a second change is not seen")
			}
		})
	}
}

// Thousands of files that rest are not read again.
func TestRestingFilesAreNotRead(t *testing.T) {
	dir := t.TempDir()
	var paths []string
	for i := range 2000 {
		paths = append(paths, filepath.Join(dir, fmt.Sprint(i)))
		write(t, paths[i], "x")
	}

	later := func() time.Time { return time.Now().Add(time.Hour) } // when they have rested
	f := files{now: later}

	f.changed(paths)
	for range 10 {
		if f.changed(paths) {
			t.Fatal("they have changed by themselves")
		}
	}

	if f.reads != len(paths) {
		t.Errorf("%d files were read %d times", len(paths), f.reads)
	}

	if write(t, paths[7], "y"); !f.changed(paths) || f.reads != len(paths)+1 {
		t.Errorf("one change makes %d reads", f.reads-len(paths))
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func touch(t *testing.T, path string, at time.Time) {
	t.Helper()
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}
