//go:build !unix

package gateway

// hangup reports nothing here: the end of a connection shows when it is used.
func hangup(uintptr) (ended, reset bool) {
	return false, false
}
