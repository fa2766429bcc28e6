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

// userHZ is the number of ticks in a second of /proc/stat (proc(5)).
const userHZ = 100

// IdleTime returns how long the processors of the machine have had nothing to do, in all;
// false: the system does not report it.
func IdleTime() (time.Duration, bool) {
	f, err := os.Open("/proc/stat")
	if err != nil {
		return 0, false
	}
	defer f.Close()

	var b [256]byte // the first line is that of all processors
	n, _ := f.Read(b[:])
	fields := bytes.Fields(b[:n]) // cpu user nice system idle iowait ...
	if len(fields) < 6 || string(fields[0]) != "cpu" {
		return 0, false
	}

	var ticks int64
	for _, field := range fields[4:6] {
		v, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return 0, false
		}
		ticks += v
	}

	return time.Duration(ticks) * time.Second / userHZ, true
}
