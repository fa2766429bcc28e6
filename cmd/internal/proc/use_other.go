//go:build !linux

package proc

import "time"

// CPUTime reports nothing here.
func CPUTime() (time.Duration, bool) {
	return 0, false
}

// IdleTime reports nothing here.
func IdleTime() (time.Duration, bool) {
	return 0, false
}
