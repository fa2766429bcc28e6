package flow

import (
	"time"

	"golang.org/x/sys/unix"
)

// bound sets how long what was sent on a socket may stay unacknowledged.
func bound(fd uintptr, limit time.Duration) error {
	return unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(limit.Milliseconds()))
}
