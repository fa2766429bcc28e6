// Package flow makes connections that end when the way to the server is lost silently.
package flow

import (
	"errors"
	"net"
	"strings"
	"syscall"
	"time"
)

const (
	// unanswered is how long nothing that was sent may be acknowledged. It is longer
	// than the server waits for a lock, as it may read nothing meanwhile.
	unanswered = 5 * time.Second
	// keepIdle is how long a connection is quiet before it is probed, and keepInterval
	// is the time between two probes.
	keepIdle     = 2 * time.Second
	keepInterval = time.Second
)

// Dialer makes connections that the system gives up, with ETIMEDOUT, when nothing comes
// back on them for five seconds, not even an acknowledgement: as where a firewall has
// forgotten them and drops their packets. An answer that takes long is none of that.
// Systems other than Linux have the probes of a quiet connection alone.
func Dialer() *net.Dialer {
	return &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{
			Enable:   true,
			Idle:     keepIdle,
			Interval: keepInterval,
			Count:    int((unanswered - keepIdle) / keepInterval),
		},
		Control: control,
	}
}

// control prepares a socket.
func control(network, _ string, c syscall.RawConn) (err error) {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	failed := c.Control(func(fd uintptr) { err = bound(fd, unanswered) })
	return errors.Join(err, failed)
}
