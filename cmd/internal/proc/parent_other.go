//go:build !linux

package proc

// EndWithParent does nothing: the system has no such signal.
func EndWithParent() {}
