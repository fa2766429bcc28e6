//go:build !unix

package gateway

import "syscall"

// direct: the descriptors are none that could be read without waiting.
const direct = false

func readNow(uintptr, []byte) (int, error) {
	return 0, syscall.EAGAIN
}

func writeNow(uintptr, []byte) (int, error) {
	return 0, syscall.EAGAIN
}
