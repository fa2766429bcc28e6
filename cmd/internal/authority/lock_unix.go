//go:build unix

package authority

import (
	"os"
	"syscall"
)

// flock waits until no other program has the file locked, and locks it until it is closed.
func flock(f *os.File) error {
	for {
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != syscall.EINTR {
			return err
		}
	}
}
