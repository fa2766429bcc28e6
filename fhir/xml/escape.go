package xml

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// appendText writes a JSON string, given with its quotes, as the content of a
// quoted attribute.
func appendText(b []byte, quoted string) []byte {
	inner := quoted[1 : len(quoted)-1]
	if plain(inner) {
		return append(b, inner...)
	}

	text, err := jsontext.AppendUnquote(nil, quoted)
	if err != nil {
		return b
	}
	return appendEscaped(b, text)
}

// plain reports whether what is between the quotes of a JSON string is the same
// in an XML attribute.
func plain(s string) bool {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\', '&', '<', '>', firstOfNon:
			return false
		}
	}
	return true
}

// firstOfNon is the first byte of U+FFFE and U+FFFF in UTF-8, among others.
const firstOfNon = 0xef

// appendEscaped writes text for a quoted attribute. White space other than the
// space would be read as one, so it is written as references (XML 1.0, 3.3.3).
// Characters that XML does not have are replaced; package validate refuses them.
func appendEscaped(b []byte, text []byte) []byte {
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case r == '&':
			b = append(b, "&amp;"...)
		case r == '<':
			b = append(b, "&lt;"...)
		case r == '>':
			b = append(b, "&gt;"...)
		case r == '"':
			b = append(b, "&quot;"...)

		case r == '\t', r == '\n', r == '\r':
			b = append(b, "&#"...)
			b = strconv.AppendInt(b, int64(r), 10)
			b = append(b, ';')
		case !character(r):
			b = append(b, "\uFFFD"...)
		default:
			b = append(b, text[:size]...)
		}

		text = text[size:]
	}

	return b
}

// character reports whether XML has a character (XML 1.0, 2.2).
func character(r rune) bool {
	switch {
	case r == '\t', r == '\n', r == '\r':
		return true
	case r < ' ', r == 0xfffe, r == 0xffff:
		return false
	}
	return utf8.ValidRune(r)
}

var (
	errCharacter = errors.New("a character is not one of XML")
	errReference = errors.New("& begins none of the references that XML itself has")
)

// unescape reads an attribute's value: references are resolved, and white space
// that is not written as a reference is a space (XML 1.0, 2.11 and 3.3.3).
func unescape(raw string) (string, error) {
	special := false
	for i := 0; i < len(raw); i++ {
		if c := raw[i]; c < ' ' || c == '&' || c == firstOfNon {
			special = true
			break
		}
	}

	if !special {
		return raw, nil
	}

	var out strings.Builder
	out.Grow(len(raw))
	raw = strings.ReplaceAll(raw, "\r\n", "\n")
	for raw != "" {
		r, size, err := next(raw)
		if err != nil {
			return "", err
		}

		if size == 1 && (r == '\t' || r == '\n' || r == '\r') {
			r = ' '
		}
		out.WriteRune(r)
		raw = raw[size:]
	}

	return out.String(), nil
}

// next decodes the first character of a text, which may be a reference of at
// least four bytes.
func next(text string) (r rune, size int, err error) {
	if text[0] == '&' {
		return reference(text)
	}
	r, size = utf8.DecodeRuneInString(text)
	if !character(r) {
		return 0, 0, errCharacter
	}
	return r, size, nil
}

// named are the references that every XML document has (XML 1.0, 4.6).
var named = map[string]rune{
	"&lt;":   '<',
	"&gt;":   '>',
	"&amp;":  '&',
	"&quot;": '"',
	"&apos;": '\'',
}

// longestReference bounds a reference, which may begin with zeros.
const longestReference = 64

// reference decodes the reference that a text begins with.
func reference(text string) (r rune, size int, err error) {
	end := strings.IndexByte(text[:min(len(text), longestReference)], ';')
	if end < 0 {
		return 0, 0, errReference
	}

	whole := text[:end+1]
	if r, ok := named[whole]; ok {
		return r, len(whole), nil
	}

	digits, base := strings.TrimPrefix(whole[:end], "&#"), 10
	if len(digits) == end {
		return 0, 0, errReference
	}

	if strings.HasPrefix(digits, "x") {
		digits, base = digits[1:], 16
	}

	n, err := strconv.ParseUint(digits, base, 32)
	if err != nil {
		return 0, 0, errReference
	}
	if n > utf8.MaxRune || !character(rune(n)) {
		return 0, 0, errCharacter
	}

	return rune(n), len(whole), nil
}

// checkText finds what a text between tags may not hold.
func checkText(text string) error {
	if strings.Contains(text, "]]>") {
		return errors.New("]]> is not allowed in a text") // XML 1.0, 2.4
	}
	return checkCharacters(text)
}

// checkCharacters finds what neither a text nor the value of an attribute may hold.
func checkCharacters(text string) error {
	for i := 0; i < len(text); {
		if c := text[i]; c >= ' ' && c != '&' && c != firstOfNon {
			i++
			continue
		}

		_, size, err := next(text[i:])
		if err != nil {
			return err
		}
		i += size
	}

	return nil
}
