package wire

import "bytes"

// MaxResponseHead bounds the memory that the head of a response may use, in bytes.
const MaxResponseHead = 1 << 20

// Response is what a response's head has on where it ends.
type Response struct {
	Status  int
	Framing Framing
	// Length is the length of the body in bytes when Framing is Fixed.
	Length int64
	// Close: the sender closes after this message, because it announces that, because
	// only closing ends it, or because it speaks HTTP/1.0.
	Close bool
}

// Interim reports whether another response to the same request follows.
func (r *Response) Interim() bool { return r.Status < 200 }

// ParseResponse reads a complete head that answers a request with the given
// method. It accepts HTTP/1.0 answers, which end with the connection. 101 is
// parsed as an interim answer: the caller must refuse it, as what follows it is not
// HTTP.
func ParseResponse(head []byte, method string, r *Response) error {
	end := line(head, 0)
	old, err := r.statusLine(head[:end])
	if err != nil {
		return err
	}

	var f fields
	if err := f.parse(head, end+2); err != nil {
		return err
	}
	if old && f.codings > 0 {
		return errOldCoding
	}

	r.Close = f.close || old
	return r.frame(&f, method)
}

// frame follows RFC 9112, 6.3, in its order.
func (r *Response) frame(f *fields, method string) error {
	framing, length, err := f.body(f.chunkedAnyCase)
	if err != nil {
		return err
	}

	r.Framing = None
	r.Length = 0
	switch {
	case r.Status < 200 || r.Status == 204:
		// 15.3.5 and 6.1: neither has a body, so neither announces one.
		if framing != None {
			return errNoBody
		}

	case r.Status == 304 || method == "HEAD":
	case framing == None && f.lengths == 0:
		r.Framing = UntilClose
		r.Close = true
	default:
		r.Framing = framing
		r.Length = length
	}

	return nil
}

// statusLine reads version and status; the reason phrase, and the space before an
// empty one, may be missing, as every reader accepts that.
func (r *Response) statusLine(l []byte) (old bool, err error) {
	a := bytes.IndexByte(l, ' ')
	if a < 0 || len(l) < a+4 || len(l) > a+4 && l[a+4] != ' ' {
		return false, errStartLine
	}

	code := l[a+1 : a+4]
	if code[0] < '1' || code[0] > '5' || !isDigit(code[1]) || !isDigit(code[2]) {
		return false, errStatus
	}

	r.Status = int(code[0]-'0')*100 + int(code[1]-'0')*10 + int(code[2]-'0')
	if !isText(l[a+4:]) {
		return false, textError(l[a+4:])
	}
	return version(l[:a])
}
