package wire

import "bytes"

// MaxHead is the longest request head, in bytes, that is accepted: start line,
// header lines and the empty line. Beyond it the answer is 431.
const MaxHead = 64 << 10

// Head finds the end of a head that arrives in pieces, looking at each byte once.
// The zero value is at the beginning of a message.
type Head struct {
	seen  int // bytes already searched
	start int // where the current line begins
}

// End returns the length of the head at the beginning of b, or 0 when more bytes
// are needed; b is everything received of the message so far. It refuses a bare LF
// and a leading empty line as soon as it sees them, and a head longer than max.
func (h *Head) End(b []byte, max int) (int, error) {
	for {
		i := bytes.IndexByte(b[h.seen:], '\n')
		if i < 0 {
			h.seen = len(b)
			if len(b) >= max {
				return 0, errHeadLong
			}
			return 0, nil
		}

		i += h.seen
		if i == 0 || b[i-1] != '\r' {
			return 0, errBareLF
		}
		if i+1 > max {
			return 0, errHeadLong
		}

		empty := i-1 == h.start
		if empty && h.start == 0 {
			return 0, errNullLine
		}

		h.seen = i + 1
		h.start = i + 1
		if empty {
			return i + 1, nil
		}
	}
}

// Framing is how the end of a message is found (RFC 9112, 6.3).
type Framing uint8

const (
	// None: the head is the whole message.
	None Framing = iota
	// Fixed: Length bytes follow the head.
	Fixed
	// Chunked: chunks follow, up to the last one and its trailer section.
	Chunked
	// UntilClose: everything follows until the sender closes (responses only).
	UntilClose
)

// fields is what the header lines have on framing.
type fields struct {
	hosts, lengths, codings int
	host                    span
	length                  int64
	chunked                 bool // exactly "chunked", in lower case
	chunkedAnyCase          bool
	close, expect, upgrade  bool
	unread                  error // what net/http would refuse the request for
}

// span is a place in the head.
type span struct{ from, to int }

func (s span) in(b []byte) []byte { return b[s.from:s.to] }

// line returns the end of the line that begins at from, without its CRLF.
func line(head []byte, from int) int {
	return from + bytes.IndexByte(head[from:], '\n') - 1
}

// parse reads the header lines of a complete head from its second line on.
func (f *fields) parse(head []byte, from int) error {
	for {
		end := line(head, from)
		if end == from {
			return nil
		}
		if err := f.field(head, from, end); err != nil {
			return err
		}
		from = end + 2
	}
}

// field parses one header line, head[from:end].
func (f *fields) field(head []byte, from, end int) error {
	colon, err := fieldName(head[from:end])
	if err != nil {
		return err
	}
	if !isText(head[from+colon+1 : end]) {
		return textError(head[from+colon+1 : end])
	}
	return f.note(head, head[from:from+colon], span{from + colon + 1, end})
}

// fieldName returns where the colon of a header line is.
func fieldName(l []byte) (int, error) {
	for i, c := range l {
		if isToken[c] {
			continue
		}

		switch {
		case c == ':' && i > 0:
			return i, nil
		case i == 0 && (c == ' ' || c == '\t'):
			return 0, errFold
		case c == '\r':
			return 0, errBareCR
		}

		return 0, errName
	}

	return 0, errNoColon
}

// note keeps what the field has on framing; most have nothing.
func (f *fields) note(head, name []byte, value span) error {
	switch len(name) {
	case 4:
		if equalFold(name, "host") {
			f.hosts++
			f.host = trimSpaces(head, value)
		}

	case 6:
		if equalFold(name, "expect") {
			f.expectation(trim(value.in(head)))
		}
	case 7:
		if equalFold(name, "trailer") {
			f.announced(value.in(head))
		}
		f.upgrade = f.upgrade || equalFold(name, "upgrade")

	case 10:
		if equalFold(name, "connection") {
			f.connection(value.in(head))
		}
	case 14:
		return f.contentLength(head, name, value)
	case 17:
		return f.transferEncoding(head, name, value)
	}

	return nil
}

func (f *fields) contentLength(head, name []byte, value span) error {
	if equalFold(name, "content_length") {
		return errLookalike
	}
	if !equalFold(name, "content-length") {
		return nil
	}

	f.lengths++
	n, ok := decimal(trimSpaces(head, value).in(head))
	if !ok {
		return errLength
	}

	f.length = n
	return nil
}

func (f *fields) transferEncoding(head, name []byte, value span) error {
	if equalFold(name, "transfer_encoding") {
		return errLookalike
	}
	if !equalFold(name, "transfer-encoding") {
		return nil
	}

	f.codings++
	v := trimSpaces(head, value).in(head)
	f.chunked = string(v) == "chunked"
	f.chunkedAnyCase = equalFold(v, "chunked")
	return nil
}

// expectation reads an Expect field (RFC 9110, 10.1.1).
func (f *fields) expectation(v []byte) {
	f.expect = f.expect || equalFold(v, "100-continue")
	if len(v) > 0 && !equalFold(v, "100-continue") {
		f.unread = errExpect
	}
}

// announced reads a Trailer field: no trailer may frame the message (RFC 9110, 6.5.1).
func (f *fields) announced(v []byte) {
	for name := range bytes.SplitSeq(v, []byte{','}) {
		if n := trim(name); equalFold(n, "transfer-encoding") || equalFold(n, "trailer") ||
			equalFold(n, "content-length") {
			f.unread = errTrailer
		}
	}
}

// connection reads the options of a Connection field (RFC 9110, 7.6.1).
func (f *fields) connection(v []byte) {
	for len(v) > 0 {
		option := v
		if i := bytes.IndexByte(v, ','); i >= 0 {
			option, v = v[:i], v[i+1:]
		} else {
			v = nil
		}

		option = trim(option)
		f.close = f.close || equalFold(option, "close")
	}
}

// body decides between Content-Length and Transfer-Encoding; both are never right.
func (f *fields) body(chunked bool) (Framing, int64, error) {
	switch {
	case f.codings > 0 && f.lengths > 0:
		return 0, 0, errBoth
	case f.codings > 1 || f.codings == 1 && !chunked:
		return 0, 0, errCoding
	case f.codings == 1:
		return Chunked, 0, nil
	case f.lengths > 1:
		return 0, 0, errLengths

	case f.lengths == 1 && f.length > 0:
		return Fixed, f.length, nil
	}

	return None, 0, nil
}

// decimal reads 1*DIGIT below 2^63: no sign, no list, nothing else.
func decimal(b []byte) (int64, bool) {
	var n int64
	for _, c := range b {
		if c < '0' || c > '9' || n > (1<<63-1-9)/10 {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, len(b) > 0
}

// trimSpaces removes spaces, and only spaces, from both ends: a TAB beside a framing
// value is legal, but readers have differed on it.
func trimSpaces(head []byte, s span) span {
	for s.from < s.to && head[s.from] == ' ' {
		s.from++
	}
	for s.to > s.from && head[s.to-1] == ' ' {
		s.to--
	}
	return s
}

func trim(b []byte) []byte { return bytes.Trim(b, " \t") }

// equalFold reports whether b is lower, which is in lower case, without regard to
// ASCII case.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}

	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}

	return true
}
