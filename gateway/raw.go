package gateway

import (
	"io"
	"net"
	"syscall"
	"time"
)

// rawConn is a TCP connection under TLS that can also be read without waiting.
type rawConn struct {
	*net.TCPConn
	rc      syscall.RawConn
	probing bool // Read does not wait; only its reader touches it
	got     int  // bytes that probing has read
	ended   bool // the stream itself has ended, so that TLS did not say so before

	in, out transfer
}

// transfer is what Read or Write has its system calls do, kept here so that it costs
// no allocation.
type transfer struct {
	p   []byte
	n   int
	err error
	try func(fd uintptr) bool // false: again, when the descriptor is ready
}

func newRawConn(c *net.TCPConn) (*rawConn, error) {
	rc, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	r := &rawConn{TCPConn: c, rc: rc}
	r.in.try, r.out.try = r.tryRead, r.tryWrite
	return r, nil
}

// Read reads for TLS.
func (r *rawConn) Read(p []byte) (n int, err error) {
	if direct || r.probing {
		n, err = r.receive(p)
	} else {
		n, err = r.TCPConn.Read(p)
	}
	r.ended = err == io.EOF
	if r.probing {
		r.got += n
	}
	return n, err
}

// receive reads by a system call of its own.
func (r *rawConn) receive(p []byte) (int, error) {
	t := &r.in
	t.p = p
	err := r.rc.Read(t.try)
	t.p = nil
	switch {
	case err != nil:
		return 0, err
	case t.err != nil:
		return 0, t.err
	case t.n == 0:
		return 0, io.EOF
	}
	return t.n, nil
}

// tryRead reads what is there.
func (r *rawConn) tryRead(fd uintptr) bool {
	t := &r.in
	if t.n, t.err = readNow(fd, t.p); t.err != syscall.EAGAIN && t.err != syscall.EINTR {
		return true
	}
	t.err = errNothing
	return r.probing
}

// Write writes all of p for TLS.
func (r *rawConn) Write(p []byte) (int, error) {
	if !direct {
		return r.TCPConn.Write(p)
	}
	t := &r.out
	t.p, t.n = p, 0
	err := r.rc.Write(t.try)
	t.p = nil
	if err == nil {
		err = t.err
	}
	return t.n, err
}

// tryWrite writes what there is room for.
func (r *rawConn) tryWrite(fd uintptr) bool {
	t := &r.out
	for t.n < len(t.p) {
		var n int
		if n, t.err = writeNow(fd, t.p[t.n:]); t.err != nil {
			return t.err != syscall.EAGAIN
		}
		t.n += n
	}
	return true
}

// errNothing says that nothing is there to be read now. TLS takes it for an error
// that passes, as it is a temporary net.Error.
var errNothing net.Error = nothing{}

type nothing struct{}

func (nothing) Error() string   { return "gateway: nothing to read" }
func (nothing) Timeout() bool   { return true }
func (nothing) Temporary() bool { return true }

// past is a deadline that is over, to wake whoever waits on a connection.
var past = time.Unix(1, 0)

// cut ends the connection so that the peer cannot take it for a clean end.
func (r *rawConn) cut() {
	r.SetLinger(0)
	r.Close()
}
