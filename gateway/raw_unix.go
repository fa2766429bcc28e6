//go:build unix

package gateway

import "syscall"

// readNow reads from a descriptor that does not block.
func readNow(fd uintptr, p []byte) (int, error) { return clean(syscall.Read(int(fd), p)) }
