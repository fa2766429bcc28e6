package search

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A term is two bytes of parameter number and the value's bytes. Values of
// text have no byte 0, so that a term followed by 0 stands before every longer
// one. The forms, by kind:
//
//	token      code 1 system       (system is implicit for FHIR's own codes),
//	           or, for an identifier's type, ofType code 1 system 1 value
//	string     folded 1 original
//	reference  id 1 Type, id 1 Type 1 version, url 1, or logical code 1 system
//	uri        the uri
//	date       class, both ends (span.value)
//	quantity   number (8 bytes), code 1 system 1 unit
//	number     number (8 bytes)
//	composite  a token, joint, a value of the other part's kind
const (
	sep      = "\x01"
	implicit = "\x02"
	logical  = "\x03"
	ofType   = "\x04"
	joint    = "\x05"
)

// maxText bounds the text of one term in bytes. Longer text is cut, with its
// digest where the whole must match.
const maxText = 200

// whole bounds text that must match as a whole.
func whole(s string) string {
	s = clean(s)
	if len(s) <= maxText {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return s[:maxText-32] + hex.EncodeToString(sum[:16])
}

// clean takes out the bytes that separate parts of terms. No FHIR string may
// hold them.
func clean(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return r < ' ' }) < 0 {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, s)
}

func cut(s string) string {
	if len(s) <= maxText {
		return s
	}
	n := maxText
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// fold makes text comparable as R4 strings are: without regard to case,
// accents, and how white space is written.
func fold(s string) string {
	plain := true
	for i := 0; i < len(s) && plain; i++ {
		plain = s[i] < utf8.RuneSelf
	}
	if plain {
		return cut(strings.Join(strings.Fields(strings.ToLower(s)), " "))
	}

	var b strings.Builder
	for _, r := range s {
		if plain, ok := accents()[r]; ok {
			b.WriteString(plain)
		} else if !unicode.Is(unicode.Mn, r) {
			b.WriteRune(unicode.ToLower(r))
		}
	}

	return cut(strings.Join(strings.Fields(clean(b.String())), " "))
}

// ordered is a number in eight bytes whose order is the numbers'.
func ordered(b []byte, f float64) []byte {
	u := math.Float64bits(f)
	if f < 0 || u == 1<<63 {
		u = ^u
	} else {
		u |= 1 << 63
	}
	return binary.BigEndian.AppendUint64(b, u)
}

func unordered(b []byte) float64 {
	if len(b) < 8 {
		return math.NaN()
	}
	u := binary.BigEndian.Uint64(b)
	if u>>63 == 1 {
		return math.Float64frombits(u &^ (1 << 63))
	}
	return math.Float64frombits(^u)
}

// Terms are the distinct terms of one resource in order, each led by its
// length: what a store keeps beside the resource.
type Terms []byte

// Each calls f with every term until it returns false.
func (t Terms) Each(f func(term []byte) bool) {
	for len(t) > 0 {
		n, k := binary.Uvarint(t)
		if k <= 0 || uint64(len(t)-k) < n {
			return
		}
		if !f(t[k : k+int(n)]) {
			return
		}
		t = t[k+int(n):]
	}
}

// of calls f with every value of the parameter until it returns false.
func (t Terms) of(id uint16, f func(value []byte) bool) {
	t.Each(func(term []byte) bool {
		got := binary.BigEndian.Uint16(term)
		if got == id {
			return f(term[2:])
		}
		return got < id
	})
}

func packTerms(sorted [][]byte) Terms {
	size := 0
	for _, t := range sorted {
		size += len(t) + 2
	}
	packed := make([]byte, 0, size)

	for i, t := range sorted {
		if i > 0 && bytes.Equal(t, sorted[i-1]) {
			continue
		}
		packed = binary.AppendUvarint(packed, uint64(len(t)))
		packed = append(packed, t...)
	}

	return packed
}
