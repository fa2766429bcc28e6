package server

import (
	"net"
	"testing"
)

// far is a listener whose connections come from given addresses.
type far struct {
	net.Listener
	from []string
}

func (f *far) Accept() (net.Conn, error) {
	if len(f.from) == 0 {
		return nil, net.ErrClosed
	}
	addr, err := net.ResolveTCPAddr("tcp", f.from[0])
	f.from = f.from[1:]
	c, _ := net.Pipe()
	return &farConn{c, addr}, err
}

type farConn struct {
	net.Conn
	from net.Addr
}

func (c *farConn) RemoteAddr() net.Addr { return c.from }

// Connections are counted per IPv4 address and per IPv6 /64, of which one
// customer has every address.
//
// Covers: case 312
func TestConnectionsPerNetwork(t *testing.T) {
	nobody := func(net.Addr) bool { return false }
	l := newLimitListener(&far{from: []string{
		"[2001:db8:1:2::1]:1", "[2001:db8:1:2::2]:1", "[2001:db8:1:2:3::]:1", "[2001:db8:1:3::1]:1", "192.0.2.1:1", "192.0.2.1:2", "192.0.2.1:3", "192.0.2.2:1",
	}}, Limits{Connections: 100, PerAddress: 2}, nobody)
	var got []string
	for {
		c, err := l.Accept()
		if err != nil {
			break
		}
		got = append(got, c.RemoteAddr().String())
	}

	if len(got) != 6 || got[2] != "[2001:db8:1:3::1]:1" || got[5] != "192.0.2.2:1" {
		t.Errorf("taken: %v", got)
	}
}
