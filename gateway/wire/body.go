package wire

// Body finds the end of a message's body as its bytes go by. The zero value is a
// message without one.
type Body struct {
	framing Framing
	left    int64 // of a Fixed body
	chunks  chunks
	content func([]byte) // gets the body without framing; nil: nobody wants it
}

// NewBody returns a Body at the end of the head.
func NewBody(f Framing, length int64) Body {
	return Body{
		framing: f,
		left:    length,
	}
}

// Feed parses the next bytes and returns how many of them belong to the message,
// and whether it is then complete. An error means that the bytes after the first n
// cannot be framed.
func (b *Body) Feed(p []byte) (n int, done bool, err error) {
	switch b.framing {
	case Fixed:
		n = len(p)
		if int64(n) > b.left {
			n = int(b.left)
		}
		b.left -= int64(n)
		b.pass(p[:n])

		return n, b.left == 0, nil

	case Chunked:
		return b.chunks.feed(p, b.content)
	case UntilClose:
		b.pass(p)
		return len(p), false, nil
	}

	return 0, true, nil
}

func (b *Body) pass(p []byte) {
	if b.content != nil {
		b.content(p)
	}
}

// EndsAtClose reports whether the end of the stream completes the body.
func (b *Body) EndsAtClose() bool {
	return b.framing == UntilClose
}
