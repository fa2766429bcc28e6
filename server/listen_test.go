package server

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"
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
	}}, Limits{Connections: 100, PerAddress: 2}, 0, nobody)
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

// A peer that reads nothing is cut, although the server's own deadline is far
// away.
func TestReadersThatReadNothingAreCut(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := newLimitListener(inner, Limits{Connections: 1, Rate: 1 << 20}, 50*time.Millisecond,
		func(net.Addr) bool { return false })
	defer l.Close()

	peer, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()

	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	if err := c.SetDeadline(time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = c.Write(make([]byte, 16<<10))
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the writer ends with %v", err)
	}
}

// One address gets half of the connections where nothing is configured, so that
// others get in; a gateway that names its clients' addresses is not limited.
func TestUsualShareOfConnections(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}

	for _, c := range []struct {
		name   string
		exempt bool
		want   int
	}{{"a client", false, 2}, {"a gateway", true, 4}} {
		t.Run(c.name, func(t *testing.T) {
			l := newLimitListener(inner, Limits{Connections: 4}.withDefaults(), time.Hour,
				func(net.Addr) bool { return c.exempt })
			a := netip.MustParseAddr("192.0.2.1")
			n := 0
			for n < 4 && l.enter(a, c.exempt) {
				n++
			}
			if n != c.want {
				t.Errorf("%d connections, want %d", n, c.want)
			}

			if !l.enter(netip.MustParseAddr("192.0.2.2"), false) {
				t.Error("another address is refused")
			}
		})
	}

	inner.Close()
}
