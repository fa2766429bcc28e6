package supervise

import "syscall"

// endWithUs makes the system end a program when this one is gone, kill -9
// included, so that no actor outlives its sandbox.
func endWithUs() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
}
