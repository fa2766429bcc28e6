//go:build unix

package gateway

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// A request that is held back goes out within the read that awaits its answer, once,
// and only where nothing was there to be read before.
//
// Covers: case 308
func TestAskOnlyWhereSilent(t *testing.T) {
	tests := map[string]struct {
		unasked string
		willing bool
		sent    string // what the peer gets
		read    string
		err     error
	}{
		"silent":    {"", true, "request", "answer", nil},
		"unasked":   {"evil", true, "", "evil", nil},
		"unwilling": {"", false, "", "", errNothing},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r, peer := rawPair(t)
			got := make(chan string)
			go func() { got <- answerOnce(peer) }()
			if test.unasked != "" {
				io.WriteString(peer, test.unasked)
				waitReadable(t, r)
			}
			asked := 0

			r.postpone()
			io.WriteString(r, "request")
			r.ask = func() bool {
				if asked++; test.willing {
					r.flush()
				}
				return test.willing
			}

			b := make([]byte, 100)
			n, err := r.Read(b)
			if string(b[:n]) != test.read || !errors.Is(err, test.err) {
				t.Errorf("read %q, %v", b[:n], err)
			}
			if (asked == 1) != (test.unasked == "") {
				t.Errorf("asked %d times", asked)
			}

			if r.postponed != nil {
				r.discard()
			}
			r.Close()
			if sent := <-got; sent != test.sent {
				t.Errorf("the peer got %q", sent)
			}
		})
	}
}

// rawPair is a connection and its peer.
func rawPair(t *testing.T) (*rawConn, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()

	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { peer.Close(); c.Close() })
	r, err := newRawConn(c.(*net.TCPConn))
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute) // so that a fault ends the test
	peer.SetDeadline(deadline)
	r.SetDeadline(deadline)

	return r, peer
}

// answerOnce answers the first bytes, and returns all that came.
func answerOnce(c net.Conn) string {
	b := make([]byte, 100)
	n, _ := c.Read(b)
	if n > 0 {
		io.WriteString(c, "answer")
	}
	rest, _ := io.ReadAll(c)
	return string(b[:n]) + string(rest)
}

// waitReadable waits until something is there to be read on r.
func waitReadable(t *testing.T, r *rawConn) {
	t.Helper()
	err := r.rc.Read(func(fd uintptr) bool {
		n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
		return n > 0 || err != nil && err != syscall.EAGAIN
	})
	if err != nil {
		t.Fatal(err)
	}
}
