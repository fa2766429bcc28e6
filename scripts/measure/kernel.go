package measure

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// CPU returns the processor time that this process has used.
func CPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// tick is the unit in which the kernel counts the time of other processes.
const tick = time.Second / 100

// CPUOf returns the processor time that other processes have used, with their children,
// those that have ended too.
func CPUOf(pids ...int) (sum time.Duration) {
	for _, pid := range family(pids) {
		// user and system time, of the process and of its children that have ended
		f := stat(pid)
		if len(f) < 15 {
			continue
		}

		for _, text := range f[11:15] {
			n, err := strconv.ParseInt(text, 10, 64)
			if err == nil {
				sum += time.Duration(n) * tick
			}
		}
	}

	return sum
}

// stat returns the fields of a process behind its name; none when it has ended.
func stat(pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	at := strings.LastIndex(string(text), ") ") // a name may have both
	return strings.Fields(string(text)[at+1:])
}

// family returns processes with their children.
func family(pids []int) (all []int) {
	for _, pid := range pids {
		all = append(all, pid)
		// none: it has ended, or this is not Linux
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				continue
			}

			for _, child := range strings.Fields(string(text)) {
				if n, err := strconv.Atoi(child); err == nil {
					all = append(all, family([]int{n})...)
				}
			}
		}
	}

	return all
}

// Memory is what processes have in memory, in bytes.
type Memory struct {
	Resident  int64 // all, with the parts of files that are mapped
	Anonymous int64 // without those: heap and stacks
}

// MemoryOf returns what processes have in memory, with their children.
func MemoryOf(pids ...int) (m Memory) {
	for _, pid := range family(pids) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue
		}

		for line := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(line, ":")
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			switch {
			case err != nil:
			case name == "VmRSS":
				m.Resident += n << 10
			case name == "RssAnon":
				m.Anonymous += n << 10
			}
		}
	}

	return m
}
