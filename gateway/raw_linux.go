//go:build linux && !386

package gateway

import (
	"syscall"
	"unsafe"
)

// direct: Read and Write make their system calls themselves.
const direct = true

// The calls are made without Go's scheduler, which is possible as these descriptors
// never block. When it knows of calls of more than 20 µs, as a write over TCP often is one, the
// scheduler hands the processor to another thread and looks every 20 µs for the next:
// that took a fifth of the processor time of a small request.

// readNow reads from a descriptor that does not block.
func readNow(fd uintptr, p []byte) (int, error) {
	return call(syscall.SYS_RECVFROM, fd, p, 0)
}

// writeNow writes to a descriptor that does not block.
func writeNow(fd uintptr, p []byte) (int, error) {
	return call(syscall.SYS_SENDTO, fd, p, syscall.MSG_NOSIGNAL)
}

func call(number, fd uintptr, p []byte, flags uintptr) (int, error) {
	for {
		n, _, e := syscall.RawSyscall6(number, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))),
			uintptr(len(p)),
			flags, 0, 0)
		if e == 0 {
			return int(n), nil
		}
		if e != syscall.EINTR {
			return 0, e
		}
	}
}
