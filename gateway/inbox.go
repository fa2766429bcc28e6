package gateway

import (
	"crypto/tls"
	"io"
	"sync"
)

const (
	// bufferSize is one TLS record's plaintext at most: with more, nothing is gained.
	bufferSize = 16 << 10
	// smallBuffer has room for nearly every head, and is what a message holds that comes
	// slowly.
	smallBuffer = 4 << 10
)

var (
	buffers = sync.Pool{New: func() any {
		b := make([]byte, bufferSize)
		return &b
	}}
	smallBuffers = sync.Pool{New: func() any {
		b := make([]byte, smallBuffer)
		return &b
	}}
)

// inbox holds received bytes that are not consumed yet: full[r:w]. It has a buffer
// only while it holds some or waits for some that have begun to come, and all buffers
// are within the budget.
type inbox struct {
	budget *budget
	buf    *[]byte // from a pool, or of its own when a head is long
	r, w   int
	first  [1]byte
}

func (b *inbox) bytes() []byte {
	if b.buf == nil {
		return nil
	}
	return (*b.buf)[b.r:b.w]
}

// fill reads more. With nothing in it, it waits with room for one byte, so that a
// connection on which nothing comes holds no buffer. It returns io.ErrShortBuffer when max
// bytes are there, and errNoMemory when it may not hold more.
func (b *inbox) fill(c *tls.Conn, max int) (int, error) {
	if b.buf == nil {
		n, err := c.Read(b.first[:])
		if n > 0 {
			b.set(smallBuffers.Get().(*[]byte))
			(*b.buf)[0], b.w = b.first[0], 1
		}

		return n, err
	}

	room, err := b.room(max)
	if err != nil {
		return 0, err
	}

	n, err := c.Read(room)
	b.w += n
	return n, err
}

// room returns where more bytes go, making the buffer larger, up to max in all, when
// it is full.
func (b *inbox) room(max int) ([]byte, error) {
	if b.buf == nil {
		b.set(smallBuffers.Get().(*[]byte))
	}
	if b.r == b.w {
		b.r = 0
		b.w = 0
	}
	if b.w < len(*b.buf) {
		return (*b.buf)[b.w:], nil
	}

	if b.r > 0 {
		b.w = copy(*b.buf, (*b.buf)[b.r:b.w])
		b.r = 0
		return (*b.buf)[b.w:], nil
	}
	if b.w >= max {
		return nil, io.ErrShortBuffer
	}

	size := min(4*len(*b.buf), max)
	if !b.budget.fitsLarge(size) {
		return nil, errNoMemory
	}

	bigger := buffer(size)
	copy(*bigger, *b.buf)
	b.putBack()
	b.set(bigger)
	return (*b.buf)[b.w:], nil
}

// widen uses a large buffer in place of a small empty one, where the budget allows it.
func (b *inbox) widen() {
	if b.r == b.w && (b.buf == nil || len(*b.buf) < bufferSize) && b.budget.fitsLarge(bufferSize) {
		b.release()
		b.set(buffer(bufferSize))
	}
}

// buffer returns one of a size.
func buffer(size int) *[]byte {
	if size == bufferSize {
		return buffers.Get().(*[]byte)
	}
	b := make([]byte, size)
	return &b
}

// consume removes n bytes, and gives the buffer back when nothing is left.
func (b *inbox) consume(n int) {
	if b.r += n; b.r == b.w {
		b.release()
	}
}

// release gives the buffer back, with all that is in it.
func (b *inbox) release() {
	b.putBack()
	b.r = 0
	b.w = 0
}

func (b *inbox) set(buf *[]byte) {
	b.buf = buf
	b.budget.reserve(len(*buf))
}

func (b *inbox) putBack() {
	if b.buf == nil {
		return
	}

	b.budget.release(len(*b.buf))
	switch len(*b.buf) {
	case bufferSize:
		buffers.Put(b.buf)
	case smallBuffer:
		smallBuffers.Put(b.buf)
	}

	b.buf = nil
}
