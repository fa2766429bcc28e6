package disk

import (
	"errors"
	"io/fs"
	"math"
	"os"

	"golang.org/x/sys/windows"
)

// Lock waits until no other program has the file locked, and locks it until it
// is closed.
func Lock(f *os.File) error {
	return lock(f, windows.LOCKFILE_EXCLUSIVE_LOCK)
}

// TryLock locks the file until it is closed, or fails at once when another
// program has it locked.
func TryLock(f *os.File) error {
	return lock(f, windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY)
}

// TryShare locks the file against those who would have it alone, until it is
// closed. It fails at once when a program has it alone.
func TryShare(f *os.File) error {
	return lock(f, windows.LOCKFILE_FAIL_IMMEDIATELY)
}

// lock locks the last byte that a file could have, as bbolt does.
func lock(f *os.File, how uint32) error {
	at := windows.Overlapped{
		Offset:     math.MaxUint32,
		OffsetHigh: math.MaxUint32,
	}
	return windows.LockFileEx(windows.Handle(f.Fd()), how, 0, 1, 0, &at)
}

// SyncDir does nothing but report a directory that cannot be examined: NTFS
// journals the names in it.
func SyncDir(path string) error {
	_, err := os.Stat(path)
	return err
}

// WritableDir returns why this account cannot create files in a directory; nil
// when it can. It creates a file and removes it, since access lists are not read.
func WritableDir(path string) error {
	f, err := os.CreateTemp(path, ".writable.*.tmp")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// Writable returns why this account cannot write to a file that exists; nil when
// it can.
func Writable(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

// Foreign returns no account: access lists are not read.
func Foreign(string) (uid int, foreign bool) { return 0, false }

// shared returns zero: access lists are not read.
func shared(fs.FileInfo) fs.FileMode { return 0 }

// Map returns the file itself, which is not mapped.
func Map(f *os.File, _ int64) Mapped { return reads{f} }
