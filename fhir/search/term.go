package search

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// A term is two bytes of parameter number and the value's bytes. Values of
// text have no byte 0, so that a term followed by 0 is before every longer one.
// The forms, by kind:
//
//	token      code 1 system       (system is implicit for FHIR's own codes),
//	           or, for an identifier's type, ofType code 1 system 1 value
//	string     folded 1 original, folded alias, or beginning longText digest;
//	           and longText where there is such a one
//	reference  id 1 Type, id 1 Type 1 version, url 1, url 1 1 version of a
//	           canonical, logical code 1 system, or inline Type 1 id of what
//	           the resource itself has in it
//	uri        uri, or uri 1 version of a canonical
//	date       class, both ends (span.value)
//	quantity   a number or range (see point), code 1 system 1 unit
//	number     a number or range
//	composite  a token, joint, a value of the other part's kind
//
// Of any kind, noValue is an element that has nothing to search for by value.
const (
	sep      = "\x01"
	implicit = "\x02"
	logical  = "\x03"
	ofType   = "\x04"
	joint    = "\x05"
	noValue  = "\x06"
	inline   = "\x07"

	alias    = "\x02" // after a text: another way of writing what is indexed whole besides
	longText = "\x03" // after a text: it goes on, and only the resource has all of it
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
	return cut(s, wholeText) + digest(s)
}

// wholeText is how much of a longer text whole leaves before its digest.
const wholeText = maxText - 32

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:16])
}

// clean replaces the bytes that separate parts of terms. No FHIR string may
// hold them.
func clean(s string) string {
	if strings.IndexFunc(s, func(r rune) bool {
		return r < ' '
	}) < 0 {
		return s
	}

	return strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, s)
}

// cut is the beginning of s, of n bytes at most and of whole letters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// Terms are the distinct terms of one resource in order, each led by its
// length: what a store has beside the resource.
type Terms []byte

// Each calls f with every term until it returns false.
func (t Terms) Each(f func(term []byte) bool) {
	for len(t) > 0 {
		var term []byte
		if term, t = t.next(); term == nil || !f(term) {
			return
		}
	}
}

// minTerm is the length of the shortest term, that of an empty value.
const minTerm = 2

// paramOf returns the parameter of a stored term; nil for one that no version of this
// program has stored.
func paramOf(term []byte) *Param {
	byID := tables().byID
	id := int(binary.BigEndian.Uint16(term))
	if id >= len(byID) {
		return nil
	}
	return byID[id]
}

// next returns the first term, and those behind it; nil when there is none, or only
// what is too short to be one.
func (t Terms) next() (term []byte, rest Terms) {
	if n := int(t[0]) + 1; n > minTerm && n <= 0x80 && n <= len(t) { // most are that short
		return t[1:n], t[n:]
	}
	return t.nextLong()
}

func (t Terms) nextLong() (term []byte, rest Terms) {
	n, k := binary.Uvarint(t)
	if k <= 0 || n < minTerm || uint64(len(t)-k) < n {
		return nil, nil
	}
	return t[k : k+int(n)], t[k+int(n):]
}

// have reports whether the parameter has any value.
func (t Terms) have(id uint16) bool {
	found := false
	t.of(id, func([]byte) bool {
		found = true
		return false
	})
	return found
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
