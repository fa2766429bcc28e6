//go:build unix

package disk_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"fhirdest.example/certs/disk"
)

// TestLocks: a file that one holder has alone is refused to others at once, those
// who share it are refused to nobody who shares, and closing it releases it.
func TestLocks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "locked")
	open := func() *os.File {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}

	alone := open()
	if err := disk.Lock(alone); err != nil {
		t.Fatal(err)
	}
	if disk.TryLock(open()) == nil {
		t.Error("two have it alone")
	}
	if disk.TryShare(open()) == nil {
		t.Error("it is shared while one has it alone")
	}
	if err := alone.Close(); err != nil {
		t.Fatal(err)
	}

	first := open()
	if err := disk.TryShare(first); err != nil {
		t.Errorf("after its release: %v", err)
	}
	if err := disk.TryShare(open()); err != nil {
		t.Errorf("two share it: %v", err)
	}
	if disk.TryLock(open()) == nil {
		t.Error("one has it alone while two share it")
	}
}

// TestPermissions: what the modes of a file and of what a link leads to give to
// others.
func TestPermissions(t *testing.T) {
	for _, c := range []struct {
		mode, shared fs.FileMode
		group        bool
	}{
		{0o600, 0, true},
		{0o400, 0, true},
		{0o640, 0o040, true},
		{0o440, 0o040, true},
		{0o660, 0o060, false},
		{0o604, 0o004, false},
		{0o444, 0o044, false},
	} {
		t.Run(c.mode.String(), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key")
			if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chmod(path, c.mode)); err != nil {
				t.Fatal(err)
			}
			link := filepath.Join(t.TempDir(), "link")
			if err := os.Symlink(path, link); err != nil {
				t.Fatal(err)
			}

			for _, p := range []string{path, link} {
				if got := disk.Shared(p); got != c.shared {
					t.Errorf("%s: %04o", p, got)
				}
				if got := disk.GroupOnly(p); got != c.group {
					t.Errorf("%s: of the group alone: %v", p, got)
				}
			}
		})
	}
}

// TestAbsent: nothing is answered in favour of a file that is not there.
func TestAbsent(t *testing.T) {
	absent := filepath.Join(t.TempDir(), "absent")
	if disk.GroupOnly(absent) {
		t.Error("it is the group's")
	}
	for name, err := range map[string]error{
		"write":     disk.Writable(absent),
		"write dir": disk.WritableDir(absent),
		"sync":      disk.SyncDir(absent),
	} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOwn: a directory and a file of our own can be written and are not foreign.
func TestOwn(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(disk.Writable(path), disk.WritableDir(dir), disk.SyncDir(dir)); err != nil {
		t.Error(err)
	}
	if uid, foreign := disk.Foreign(path); foreign {
		t.Errorf("it belongs to %d", uid)
	}
	if disk.WritableDir(path) == nil {
		t.Error("a file is a directory")
	}
}

// A file that is cut short while it is mapped gives an error, and does not end the
// program.
func TestMappedFileIsCutShort(t *testing.T) {
	const size = 1 << 20
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()

	m := disk.Map(f, size)
	defer m.Close()
	if err := os.Truncate(path, 4096); err != nil {
		t.Fatal(err)
	}

	b := make([]byte, 16)
	if _, err := m.ReadAt(b, 0); err != nil {
		t.Errorf("what is left: %v", err)
	}
	if _, err := m.ReadAt(b, size/2); err == nil {
		t.Error("what is gone was read")
	}
}
