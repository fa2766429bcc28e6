package supervise

import (
	"net"
	"os"
	"syscall"
)

// hold is a second handle of a listener's socket. When it is stilled the socket stays
// bound and does not listen: Linux then gives its port to nobody who lets it pick one,
// be it for listening or for connecting, and still to who asks for it by its number
// with SO_REUSEADDR, as every server written in Go does.
func hold(ln net.Listener) *os.File {
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		return nil
	}

	f, err := tcp.File()
	if err != nil {
		return nil // as where nothing can be held
	}
	return f
}

// still ends the listening of what is held.
func still(held *os.File) {
	if c, err := held.SyscallConn(); err == nil {
		_ = c.Control(func(fd uintptr) { _ = syscall.Shutdown(int(fd), syscall.SHUT_RD) }) // it may be still already
	}
}
