//go:build unix

package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"syscall"

	"golang.org/x/sys/unix"
)

// Lock waits until no other program has the file locked, and locks it until it
// is closed.
func Lock(f *os.File) error {
	return flock(f, syscall.LOCK_EX)
}

// TryLock locks the file until it is closed, or fails at once when another
// program has it locked.
func TryLock(f *os.File) error {
	return flock(f, syscall.LOCK_EX|syscall.LOCK_NB)
}

// TryShare locks the file against those who would have it alone, until it is
// closed. It fails at once when a program has it alone.
func TryShare(f *os.File) error {
	return flock(f, syscall.LOCK_SH|syscall.LOCK_NB)
}

func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// SyncDir makes the names in a directory durable. On Windows it does nothing:
// NTFS journals them itself.
func SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Writable returns why this account cannot write to a file that exists; nil when
// it can.
func Writable(path string) error {
	return unix.Access(path, unix.W_OK)
}

// WritableDir returns why this account cannot create files in a directory; nil
// when it can.
func WritableDir(path string) error {
	return unix.Access(path, unix.W_OK|unix.X_OK)
}

// Foreign returns the account that a file belongs to, when that is neither this
// one nor root. On Windows no file is foreign.
func Foreign(path string) (uid int, foreign bool) {
	st, err := os.Stat(path)
	if err != nil {
		return 0, false
	}

	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok || sys.Uid == 0 || int(sys.Uid) == os.Geteuid() {
		return 0, false
	}
	return int(sys.Uid), true
}

func shared(st fs.FileInfo) fs.FileMode {
	return st.Mode().Perm() & 0o077
}

// Map maps the first bytes of a file into memory. Where that cannot be done, the file
// itself is read.
func Map(f *os.File, size int64) Mapped {
	if size <= 0 || size != int64(int(size)) {
		return reads{f}
	}
	m, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return reads{f}
	}
	return mapping(m)
}

// mapping is a file in memory.
type mapping []byte

// ReadAt implements io.ReaderAt. A page that the disk does not give is an error.
func (m mapping) ReadAt(b []byte, at int64) (n int, err error) {
	if at < 0 || at > int64(len(m)) {
		return 0, io.EOF
	}

	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			n, err = 0, fmt.Errorf("%v", p)
		}
	}()

	if n = copy(b, m[at:]); n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// Close ends the mapping.
func (m mapping) Close() error { return unix.Munmap(m) }
