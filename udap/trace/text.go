package trace

import (
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
	var b [64]byte
	text := append(b[:0], before...)
	return string(t.UTC().AppendFormat(text, time.RFC3339))
}
