package udap

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"

	"golang.org/x/text/unicode/norm"
)

var oidEmailAddress = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}

// SameName reports whether two DER-encoded distinguished names are equal under
// the rules of RFC 5280 7.1: the type of a string, case, and leading, trailing
// and repeated white space do not count. Names that cannot be parsed are equal
// only if their bytes are.
func SameName(a, b []byte) bool {
	return bytes.Equal(a, b) || nameKey(a) == nameKey(b)
}

// selfIssued reports whether a certificate has one name as issuer and subject
// (RFC 5280 3.2).
func selfIssued(c *x509.Certificate) bool {
	return SameName(c.RawSubject, c.RawIssuer)
}

// nameKey returns the same text for all encodings of one distinguished name.
func nameKey(der []byte) string {
	name, err := parseName(der)
	if err != nil {
		return "\x00" + string(der)
	}
	return strings.Join(name, "\n")
}

// distinguishedName is a name as a list of RDNs, each in one canonical form.
type distinguishedName []string

// within reports whether a name is in the subtree below base (RFC 5280 4.2.1.10).
func (n distinguishedName) within(base distinguishedName) bool {
	return len(n) >= len(base) && slices.Equal(n[:len(base)], base)
}

// parseName parses a DER-encoded name.
func parseName(der []byte) (distinguishedName, error) {
	rdns, err := elements(der)
	if err != nil {
		return nil, err
	}

	out := make(distinguishedName, 0, len(rdns))
	for _, rdn := range rdns {
		var set asn1.RawValue
		if _, err := asn1.Unmarshal(rdn.FullBytes, &set); err != nil || set.Tag != asn1.TagSet {
			return nil, asn1.StructuralError{Msg: "a relative distinguished name is not a set"}
		}

		key, err := rdnKey(set.Bytes)
		if err != nil {
			return nil, err
		}
		out = append(out, key)
	}

	return out, nil
}

// attribute is one AttributeTypeAndValue.
type attribute struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

// rdnKey returns the canonical form of the attributes of one RDN, which are a
// set: their order does not count.
func rdnKey(der []byte) (string, error) {
	var keys []string
	for rest := der; len(rest) > 0; {
		var a attribute
		var err error
		if rest, err = asn1.Unmarshal(rest, &a); err != nil {
			return "", err
		}
		keys = append(keys, a.Type.String()+"="+valueKey(a.Value))
	}

	slices.Sort(keys)
	return strings.Join(keys, "+"), nil
}

// valueKey returns the canonical form of a value. Values that are not strings
// are compared by their bytes. Strings are quoted by hex where a character
// could be confused with the separators of the key.
func valueKey(v asn1.RawValue) string {
	text, ok := stringOf(v)
	if !ok {
		return "#" + hex.EncodeToString(v.FullBytes)
	}

	text = foldValue(text)
	if strings.ContainsAny(text, "+\n#\x00") {
		return "x" + hex.EncodeToString([]byte(text))
	}
	return "t" + text
}

// stringOf decodes the string types of RFC 5280 4.1.2.4. TeletexString is read
// as Latin-1, as it is written in practice.
func stringOf(v asn1.RawValue) (string, bool) {
	if v.Class != asn1.ClassUniversal || v.IsCompound {
		return "", false
	}

	switch v.Tag {
	case asn1.TagUTF8String, asn1.TagPrintableString, asn1.TagIA5String, asn1.TagNumericString:
		return string(v.Bytes), true
	case asn1.TagT61String:
		out := make([]rune, len(v.Bytes))
		for i, b := range v.Bytes {
			out[i] = rune(b)
		}
		return string(out), true

	case asn1.TagBMPString:
		return wideString(v.Bytes, 2)
	case 28: // UniversalString
		return wideString(v.Bytes, 4)
	}

	return "", false
}

// wideString decodes characters of two bytes (UTF-16) or of four.
func wideString(b []byte, width int) (string, bool) {
	if len(b)%width != 0 {
		return "", false
	}

	var units []uint16
	var runes []rune
	for ; len(b) > 0; b = b[width:] {
		if width == 2 {
			units = append(units, uint16(b[0])<<8|uint16(b[1]))
			continue
		}
		runes = append(runes, rune(b[0])<<24|rune(b[1])<<16|rune(b[2])<<8|rune(b[3]))
	}

	if width == 2 {
		runes = utf16.Decode(units)
	}
	return string(runes), true
}

// foldValue prepares a string for comparison as RFC 4518 2 does, for values that
// ignore case: compatibility normalization, no case, no control or invisible
// characters, and single spaces between words alone.
func foldValue(s string) string {
	s = norm.NFKC.String(s)
	s = strings.ToLower(strings.ToUpper(s)) // as foldName of udap/jose: catches ſ and the Kelvin sign
	s = norm.NFKC.String(s)
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r):
			return -1
		}

		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

// mailAddresses returns the mail addresses to which rfc822Name constraints
// apply: those of the Subject Alternative Name, or if a certificate has no such
// extension, those of the subject (RFC 5280 4.2.1.10).
func mailAddresses(c *x509.Certificate) []string {
	if hasExtension(c, oidSubjectAltName) {
		return c.EmailAddresses
	}

	var out []string
	for _, a := range c.Subject.Names {
		if text, ok := a.Value.(string); ok && a.Type.Equal(oidEmailAddress) {
			out = append(out, text)
		}
	}

	return out
}
