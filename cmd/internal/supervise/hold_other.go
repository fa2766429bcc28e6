//go:build !linux

package supervise

import (
	"net"
	"os"
)

// hold has no counterpart here: a port may be lost between one who lets go of it and
// the next who binds it.
func hold(net.Listener) *os.File { return nil }

func still(*os.File) {}
