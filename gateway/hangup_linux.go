package gateway

import (
	"syscall"
	"unsafe"
)

// pollFd is struct pollfd (poll(2)).
type pollFd struct {
	fd              int32
	events, revents int16
}

const (
	pollErr   = 0x8
	pollHup   = 0x10
	pollRdHup = 0x2000
)

// hangup reports whether the peer has ended its sending, and whether the connection is
// over both ways. It waits for nothing and reads nothing.
func hangup(fd uintptr) (ended, reset bool) {
	p := pollFd{
		fd:     int32(fd),
		events: pollRdHup,
	}
	var now syscall.Timespec
	n, _, e := syscall.RawSyscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1,
		uintptr(unsafe.Pointer(&now)),
		0, 0, 0)
	if e != 0 || n == 0 {
		return false, false
	}

	return p.revents&(pollRdHup|pollHup|pollErr) != 0, p.revents&(pollHup|pollErr) != 0
}
