package trace

import (
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// Ellipsis ends a text that was cut. It is ASCII: other characters are
// percent-encoded in an error_description.
const Ellipsis = "..."

// Cut returns s, or its first n bytes and an ellipsis if it is longer. It
// never splits a character.
func Cut(s string, n int) string {
	if len(s) <= n {
		return s
	}

	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + Ellipsis
}

// Stamp returns a time as findings write it: RFC 3339 in UTC, to the second.
func Stamp(t time.Time) string { return Stamped("", t) }

// Stamped returns a text with a time behind it, as Stamp writes that.
func Stamped(before string, t time.Time) string {
	second := t.Unix()
	place := &stamps[uint64(second+int64(len(before)))%uint64(len(stamps))]
	if s := place.Load(); s != nil && s.second == second && s.before == before {
		return s.text
	}

	var b [64]byte
	text := append(b[:0], before...)
	s := &stamp{
		second: second,
		before: before,
		text:   string(t.UTC().AppendFormat(text, time.RFC3339)),
	}
	place.Store(s)
	return s.text
}

// stamp is the text of a second.
type stamp struct {
	second       int64
	before, text string
}

// stamps are texts that Stamped returned a moment ago. Requests of one second show the
// same few times: that second itself, and those of JWTs that were made in it.
var stamps [64]atomic.Pointer[stamp]
