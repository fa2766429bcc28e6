//go:build unix

package evidence

import (
	"os"
	"syscall"
)

// removesOpen reports whether a file that is open can be removed.
const removesOpen = true

// share maps the beginning of a file, so that stores into the page are stores into the file.
func share(f *os.File, size int) ([]byte, error) {
	return syscall.Mmap(
		int(f.Fd()),
		0,
		size,
		syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_SHARED,
	)
}

func unshare(page []byte) error {
	if page == nil {
		return nil
	}
	return syscall.Munmap(page)
}

// lock acquires the file for this program alone, or returns false at once.
func lock(f *os.File) bool {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}
