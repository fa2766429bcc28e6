//go:build unix && !linux

package gateway

import "syscall"

// hangup reports whether the peer has ended its sending, and whether the connection is
// over both ways. What has come and was not read hides either.
func hangup(fd uintptr) (ended, reset bool) {
	var b [1]byte
	n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
	reset = err != nil && err != syscall.EAGAIN && err != syscall.EINTR
	return reset || err == nil && n == 0, reset
}
