package gateway

import (
	"crypto/tls"
	"io"
	"net"
	"syscall"
	"time"
)

// rawConn is a TCP connection under TLS.
type rawConn struct {
	*net.TCPConn
	rc    syscall.RawConn
	ended bool // the stream itself has ended, and not TLS before it

	// ask, when not nil, is called once by the next Read that finds nothing to read,
	// before it waits; when it returns false, Read fails with errNothing. Only the
	// reader touches it, and got, which counts the bytes read while ask is set.
	ask func() bool
	got int

	// postponed, while not nil, keeps what is written until flush or discard.
	postponed *[]byte

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
	r := &rawConn{
		TCPConn: c,
		rc:      rc,
	}
	r.in.try, r.out.try = r.tryRead, r.tryWrite
	return r, nil
}

// Read reads for TLS.
func (r *rawConn) Read(p []byte) (n int, err error) {
	switch {
	case direct:
		n, err = r.receive(p)
	case r.asks():
		n, err = r.TCPConn.Read(p)
	default:
		err = errNothing
	}

	r.ended = err == io.EOF
	if r.ask != nil {
		r.got += n
	}
	return n, err
}

// peerEnded reports whether the peer has ended its sending, and whether the connection
// was reset. Any goroutine may call it.
func (r *rawConn) peerEnded() (ended, reset bool) {
	r.rc.Control(func(fd uintptr) {
		ended, reset = hangup(fd)
	})
	return ended, reset
}

// asks calls ask, if it is set.
func (r *rawConn) asks() bool {
	ask := r.ask
	r.ask = nil
	return ask == nil || ask()
}

// smallRecord is the size of a TLS record, in bytes, from which on passing it alone costs
// little beside the bytes themselves.
const smallRecord = 1 << 10

// readRecords is Read of t, which is over r. Where records are small, it reads all that
// has come, up to the size of p: passed one by one, each would cost a system call and a
// record of its own. It never waits for a second record.
func readRecords(t *tls.Conn, r *rawConn, p []byte) (int, error) {
	n, err := t.Read(p)
	for more := n; err == nil && 0 < more && more < smallRecord && n < len(p); n += more {
		r.ask = never
		more, _ = t.Read(p[n:]) // an error shows again at the next
		r.ask = nil
	}
	return n, err
}

func never() bool { return false }

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
	return !r.asks()
}

// postpone keeps what is written from now on.
func (r *rawConn) postpone() {
	r.postponed = buffers.Get().(*[]byte)
	*r.postponed = (*r.postponed)[:0]
}

// flush ends that, and sends what was kept.
func (r *rawConn) flush() error {
	b := r.postponed
	r.postponed = nil
	defer reuse(b)
	_, err := r.Write(*b)
	return err
}

// discard ends that, and forgets what was kept.
func (r *rawConn) discard() {
	reuse(r.postponed)
	r.postponed = nil
}

func reuse(b *[]byte) {
	if cap(*b) == bufferSize {
		*b = (*b)[:bufferSize]
		buffers.Put(b)
	}
}

// Write writes all of p for TLS.
func (r *rawConn) Write(p []byte) (int, error) {
	if r.postponed != nil {
		*r.postponed = append(*r.postponed, p...)
		return len(p), nil
	}
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

// errNothing is returned when nothing is there to be read. TLS reads on after it, as it
// is a temporary net.Error.
var errNothing net.Error = nothing{}

type nothing struct{}

func (nothing) Error() string {
	return "gateway: nothing to read"
}
func (nothing) Timeout() bool   { return true }
func (nothing) Temporary() bool { return true }

// past is a deadline that is over, to wake whoever waits on a connection.
var past = time.Unix(1, 0)

// cut ends the connection so that the peer does not see a clean end.
func (r *rawConn) cut() {
	r.SetLinger(0)
	r.Close()
}
