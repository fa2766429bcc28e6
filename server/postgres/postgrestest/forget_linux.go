package postgrestest

import (
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

// Forget drops all packets that come on the connections that there are, so that not even
// their acknowledgements are sent, as a firewall that has forgotten them. Others are not
// concerned.
func (c *Cutter) Forget() error {
	c.Silence()
	c.mu.Lock()
	defer c.mu.Unlock()
	var failed []error
	for conn := range c.conns {
		tcp, ok := conn.(*net.TCPConn)
		if !ok {
			continue
		}
		if err := drop(tcp); !errors.Is(err, net.ErrClosed) {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// drop has the kernel drop what comes for a socket, before it is acknowledged.
func drop(conn *net.TCPConn) (err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}

	none := &unix.SockFprog{
		Len: 1,
		Filter: &unix.SockFilter{
			Code: unix.BPF_RET | unix.BPF_K, // the first so many bytes pass: 0
		},
	}
	failed := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, none)
	})
	return errors.Join(err, failed)
}
