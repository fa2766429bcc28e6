package proc

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
	"time"
)

// CPUTime returns the processor time that the process has used, in user mode and in the
// kernel; false: the system does not report it.
func CPUTime() (time.Duration, bool) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, false
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), true
}

// IdleTime returns how long the processors of the machine have had nothing to do, in all;
// false: the system does not report it. Some sandboxes always report 0.
func IdleTime() (time.Duration, bool) {
	b, err := os.ReadFile("/proc/uptime") // seconds since the start, and idle (proc(5))
	if err != nil {
		return 0, false
	}

	_, idle, _ := bytes.Cut(bytes.TrimSpace(b), []byte(" "))
	seconds, err := strconv.ParseFloat(string(idle), 64)
	return time.Duration(seconds * float64(time.Second)), err == nil && seconds > 0
}
