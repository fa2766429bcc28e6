package gatewayd

import (
	"os"
	"syscall"
	"time"
)

// changedAt returns when the file was last changed in any way, which nobody can set.
func changedAt(info os.FileInfo) time.Time {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return time.Unix(s.Ctim.Unix())
	}
	return time.Time{}
}
