//go:build unix && (!linux || 386)

package gateway

import "syscall"

const direct = true

// readNow reads from a descriptor that does not block.
func readNow(fd uintptr, p []byte) (int, error) {
	return syscall.Read(int(fd), p)
}

func writeNow(fd uintptr, p []byte) (int, error) {
	return syscall.Write(int(fd), p)
}
