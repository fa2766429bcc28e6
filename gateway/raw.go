package gateway

import (
	"errors"
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

	// what readNow hands to try, kept here so that it costs no allocation
	buf []byte
	n   int
	err error
	try func(fd uintptr) bool
}

func newRawConn(c *net.TCPConn) (*rawConn, error) {
	rc, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	r := &rawConn{TCPConn: c, rc: rc}
	r.try = r.tryRead
	return r, nil
}

// Read reads for TLS.
func (r *rawConn) Read(p []byte) (int, error) {
	if !r.probing {
		n, err := r.TCPConn.Read(p)
		r.ended = err == io.EOF
		return n, err
	}
	r.buf = p
	if err := r.rc.Read(r.try); err != nil {
		return 0, err
	}
	if r.n > 0 {
		r.got += r.n
	}
	return r.n, r.err
}

// tryRead reads what is there.
func (r *rawConn) tryRead(fd uintptr) bool {
	r.n, r.err = readNow(fd, r.buf)
	r.buf = nil
	return true
}

// errNothing says that nothing is there to be read now. TLS takes it for an error
// that passes, as it is a temporary net.Error.
var errNothing net.Error = nothing{}

type nothing struct{}

func (nothing) Error() string   { return "gateway: nothing to read" }
func (nothing) Timeout() bool   { return true }
func (nothing) Temporary() bool { return true }

// clean turns the result of a read system call into a Reader's.
func clean(n int, err error) (int, error) {
	switch {
	case n > 0:
		return n, nil
	case err == nil:
		return 0, io.EOF
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EINTR):
		return 0, errNothing
	}
	return 0, err
}

// past is a deadline that is over, to wake whoever waits on a connection.
var past = time.Unix(1, 0)

// cut ends the connection so that the peer cannot take it for a clean end.
func (r *rawConn) cut() {
	r.SetLinger(0)
	r.Close()
}
