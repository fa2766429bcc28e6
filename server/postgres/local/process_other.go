//go:build !linux

package local

import "syscall"

// attributes are those of any program: only Linux ends one with the program that
// started it.
func attributes(*account, bool) *syscall.SysProcAttr { return nil }
