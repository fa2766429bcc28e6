package evidence

import (
	"bytes"
	"strconv"
	"time"
)

// parseFast reads a line exactly as Log writes it, ten times as fast as a JSON
// package; false means that the line is of another form, which may still be JSON.
func parseFast(b []byte, l *Line) bool {
	s := scanner{
		b:  b,
		ok: true,
	}
	when := s.text(`{"time":`)
	l.Hop = s.text(`,"hop":`)
	l.Route = s.text(`,"route":`)
	l.Conn = s.text(`,"conn":`)

	l.Seq = uint64(s.number(`,"seq":`))
	l.Dir = s.text(`,"dir":`)
	l.Method = s.text(`,"method":`)

	l.Status = int(s.number(`,"status":`))
	l.BytesIn = s.number(`,"bytesIn":`)
	l.BytesOut = s.number(`,"bytesOut":`)
	l.SHA256In = s.text(`,"sha256In":`)
	l.SHA256Out = s.text(`,"sha256Out":`)
	l.Mapped = s.has(mappedKey)
	if bytes.HasPrefix(s.b, []byte(addressKey)) {
		l.Address = s.text(addressKey)
	}
	if !s.ok || string(s.b) != lineEnd {
		*l = Line{}
		return false
	}

	var err error
	l.Time, err = time.Parse(time.RFC3339Nano, when)
	return err == nil
}

type scanner struct {
	b  []byte
	ok bool
}

func (s *scanner) skip(prefix string) {
	if !s.ok || len(s.b) < len(prefix) || string(s.b[:len(prefix)]) != prefix {
		s.ok = false
		return
	}
	s.b = s.b[len(prefix):]
}

// has reads a text, where it is next.
func (s *scanner) has(text string) bool {
	rest, ok := bytes.CutPrefix(s.b, []byte(text))
	s.b = rest
	return ok
}

// text reads a string without escapes.
func (s *scanner) text(prefix string) string {
	s.skip(prefix)
	s.skip(`"`)
	end := bytes.IndexByte(s.b, '"')
	if !s.ok || end < 0 || bytes.IndexByte(s.b[:end], '\\') >= 0 {
		s.ok = false
		return ""
	}

	t := string(s.b[:end])
	s.b = s.b[end+1:]
	return t
}

func (s *scanner) number(prefix string) int64 {
	s.skip(prefix)
	end := 0
	for end < len(s.b) && s.b[end] >= '0' && s.b[end] <= '9' {
		end++
	}

	n, err := strconv.ParseInt(string(s.b[:end]), 10, 64)
	s.ok = s.ok && err == nil
	s.b = s.b[end:]
	return n
}
