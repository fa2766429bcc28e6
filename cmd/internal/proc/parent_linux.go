package proc

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// EndWithParent has the system send this program a SIGTERM when the go command that
// is its parent ends; with any other parent it does nothing.
func EndWithParent() {
	parent := os.Getppid()
	program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", parent))
	if err != nil || filepath.Base(program) != "go" {
		return
	}

	_, _, _ = syscall.RawSyscall(
		syscall.SYS_PRCTL,
		syscall.PR_SET_PDEATHSIG,
		uintptr(syscall.SIGTERM),
		0,
	)
	if os.Getppid() != parent { // it ended before it was asked for
		_ = syscall.Kill(os.Getpid(), syscall.SIGTERM)
	}
}
