package local

import "syscall"

// capReadSearch lets a process pass directories that are closed to its account
// (CAP_DAC_READ_SEARCH).
const capReadSearch = 2

// attributes has a program run as an account, and end when this program does. One of a
// directory that is hidden from its account may pass the directories above it: root,
// who started it, has put it there.
func attributes(as *account, hidden bool) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{
		Setpgid:   true,            // an interrupt of the terminal is this program's to handle
		Pdeathsig: syscall.SIGQUIT, // ends at once
	}
	if as == nil {
		return a
	}

	a.Credential = &syscall.Credential{
		Uid: uint32(as.uid),
		Gid: uint32(as.gid),
	}
	if hidden {
		a.AmbientCaps = []uintptr{capReadSearch}
	}
	return a
}
