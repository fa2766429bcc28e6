package wire

import "bytes"

// Bounds on the lines between chunks, in bytes.
const (
	maxExtension = 4 << 10
	maxTrailer   = MaxHead
)

// chunks follows the chunked coding (RFC 9112, 7.1) byte by byte between the
// chunks, and in strides within them.
type chunks struct {
	state   chunkState
	left    int64 // of the chunk's data
	digits  int
	section int      // bytes of this extension, or of the trailer section
	name    [18]byte // beginning of a trailer field's name
	nameLen int
}

type chunkState uint8

const (
	chunkSize chunkState = iota
	chunkExtension
	chunkSizeLF
	chunkData
	chunkDataCR
	chunkDataLF
	trailerStart
	trailerName
	trailerValue
	trailerLF
	trailerEndLF
)

// feed is Body.Feed for the chunked coding; content, where there is one, gets the data.
func (c *chunks) feed(p []byte, content func([]byte)) (n int, done bool, err error) {
	for n < len(p) {
		if c.state == chunkData {
			k := c.data(len(p) - n)
			if content != nil {
				content(p[n : n+k])
			}
			n += k
			continue
		}

		if c.state == chunkExtension || c.state == trailerValue {
			if k := c.stride(p[n:]); k > 0 {
				n += k
				continue
			}
		}

		done, err = c.step(p[n])
		if err != nil {
			return n, false, err
		}

		n++
		if done {
			return n, true, nil
		}
	}

	return n, false, nil
}

// data passes up to n bytes of chunk data.
func (c *chunks) data(n int) int {
	if int64(n) > c.left {
		n = int(c.left)
	}
	c.left -= int64(n)
	if c.left == 0 {
		c.state = chunkDataCR
	}
	return n
}

// stride passes the plain text before the next CR, within bounds; step parses what
// stops it.
func (c *chunks) stride(p []byte) int {
	if i := bytes.IndexByte(p, '\r'); i >= 0 {
		p = p[:i]
	}
	if room := c.bound() - c.section; len(p) > room {
		p = p[:room]
	}

	for i, b := range p {
		if !isValue[b] {
			p = p[:i]
			break
		}
	}

	c.section += len(p)
	return len(p)
}

func (c *chunks) bound() int {
	if c.state >= trailerStart {
		return maxTrailer
	}
	return maxExtension
}

// step parses one byte outside chunk data.
func (c *chunks) step(b byte) (done bool, err error) {
	switch c.state {
	case chunkSize:
		return false, c.size(b)
	case chunkExtension:
		return false, c.extension(b)
	case chunkSizeLF:
		return false, c.sizeEnd(b)
	case chunkDataCR:
		return false, c.expect(b, '\r', chunkDataLF, errChunkEnd)

	case chunkDataLF:
		c.digits = 0
		return false, c.expect(b, '\n', chunkSize, errChunkEnd)
	case trailerEndLF:
		return true, c.expect(b, '\n', trailerEndLF, errBareCR)
	}

	return false, c.trailer(b)
}

func (c *chunks) expect(b, want byte, next chunkState, err error) error {
	if b != want {
		return err
	}
	c.state = next
	return nil
}

// size parses the hexadecimal digits: at most 15, so that no reader overflows. Space
// after them, which 7.1.1 lets a sender of "bad whitespace" put before the semicolon,
// is refused: readers disagree on it, and net/http does not read it as a size.
func (c *chunks) size(b byte) error {
	switch {
	case isHex[b] && c.digits < 15:
		c.left = c.left<<4 | int64(hexValue(b))
		c.digits++
		return nil
	case c.digits == 0:
		return errChunkSize
	case b == '\r':
		c.state = chunkSizeLF
		return nil

	case b == ';':
		c.state = chunkExtension
		c.section = 0
		return nil
	}

	return errChunkSize
}

// extension passes what is between the semicolon and CRLF.
func (c *chunks) extension(b byte) error {
	c.section++
	switch {
	case b == '\r' && c.section <= maxExtension:
		c.state = chunkSizeLF
	case c.section > maxExtension || !isValue[b]:
		return errChunkExt
	}
	return nil
}

func (c *chunks) sizeEnd(b byte) error {
	if b != '\n' {
		return errBareCR
	}
	c.state = chunkData
	if c.left == 0 {
		c.state = trailerStart
		c.section = 0
		c.nameLen = 0
	}
	return nil
}

// trailer parses one byte of the trailer section.
func (c *chunks) trailer(b byte) error {
	if c.section++; c.section > maxTrailer {
		return errTrailerLong
	}

	switch c.state {
	case trailerStart:
		if b == '\r' {
			c.state = trailerEndLF
			return nil
		}

		c.state = trailerName
		c.nameLen = 0
		return c.trailerName(b)

	case trailerName:
		return c.trailerName(b)
	case trailerLF:
		return c.expect(b, '\n', trailerStart, errBareCR)
	}

	switch {
	case b == '\r':
		c.state = trailerLF
	case !isValue[b]:
		return errTrailer
	}

	return nil
}

// trailerName parses a byte of a trailer field's name and refuses, at its colon, the
// names that would frame the message anew (RFC 9110, 6.5.1).
func (c *chunks) trailerName(b byte) error {
	if b != ':' {
		if !isToken[b] {
			return errTrailer
		}

		if c.nameLen < len(c.name) {
			c.name[c.nameLen] = b
			c.nameLen++
		}
		return nil
	}

	name := c.name[:c.nameLen]
	for _, framing := range [...]string{
		"", "transfer-encoding", "content-length", "host", "trailer",
	} {
		if equalFold(name, framing) {
			return errTrailer
		}
	}

	c.state = trailerValue
	return nil
}

func hexValue(b byte) byte {
	switch {
	case b <= '9':
		return b - '0'
	case b <= 'F':
		return b - 'A' + 10
	}
	return b - 'a' + 10
}
