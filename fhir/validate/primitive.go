package validate

import (
	"encoding/base64"
	"strings"
	"time"

	"fhirdest.example/fhir/narrative"
	"fhirdest.example/fhir/splice"
	"fhirdest.example/fhir/table"
	"fhirdest.example/fhir/tree"
)

// primitive checks a value of a primitive type: its JSON kind, its format
// (FHIR R4, datatypes.html), and a required code.
func (w *walker) primitive(v *tree.Value, name string, e *table.Element) {
	if want := jsonKind(name); !fits(v.Kind, want) {
		w.fail("structure", "a %s is expected here, not %s", want, kindName(v))
		return
	}

	text := v.Literal()
	if name == "xhtml" {
		if err := narrative.Check(text, w.in.firstID); err != nil {
			w.add(Error, "invariant", "txt-1", "%s", err)
		}
		return
	}
	if v.Kind == tree.String && text == "" {
		w.fail("structure", "a string is never empty")
		return
	}
	if why := formatFault(name, text); why != "" {
		w.fail("value", "%.80q is not a valid %s: %s", text, name, why)
		return
	}

	if e.Codes != nil && name == "code" && !e.Codes.Has(text) {
		w.fail("code-invalid", "%.80q is not a code of %s", text, e.Codes.Name)
	}
	if text[0] == '#' && len(text) > 1 && (name == "canonical" || name == "uri" || name == "url") {
		w.in.use(text[1:])
	}
}

// jsonKind names the JSON form of a primitive type.
func jsonKind(name string) string {
	switch name {
	case "boolean":
		return "boolean"
	case "integer", "unsignedInt", "positiveInt", "decimal":
		return "number"
	}
	return "string"
}

func fits(k tree.Kind, want string) bool {
	switch want {
	case "boolean":
		return k == tree.True || k == tree.False
	case "number":
		return k == tree.Number
	}
	return k == tree.String
}

// formatFault describes what is wrong with a primitive's text; "" is nothing.
func formatFault(name, s string) string {
	switch name {
	case "boolean":
		return ""
	case "integer":
		return integerFault(s, -1<<31)
	case "unsignedInt":
		return integerFault(s, 0)
	case "positiveInt":
		return integerFault(s, 1)

	case "decimal":
		return decimalFault(s)
	case "string", "markdown":
		return textFault(s)
	case "code":
		return codeFault(s)
	case "id":
		if !splice.ValidID(s) {
			return "1 to 64 letters, digits, hyphens and dots are allowed"
		}

	case "uri", "url", "canonical", "oid", "uuid":
		return uriFault(name, s)
	case "base64Binary":
		return base64Fault(s)
	case "date", "dateTime", "instant", "time":
		if name[0] == 'd' && commonDay(s) {
			return ""
		}
		if _, _, ok := parseTime(name, s); !ok {
			return "it is not a possible " + name + " as FHIR writes it"
		}
	}

	return ""
}

// integerFault checks a JSON number as a whole number from least to 2^31-1.
func integerFault(s string, least int64) string {
	digits := strings.TrimPrefix(s, "-")
	if len(digits) > 10 || strings.Trim(digits, "0123456789") != "" || s == "-0" {
		return "a whole number of 32 bits is expected"
	}

	n := int64(0)
	for _, d := range digits {
		n = n*10 + int64(d-'0')
	}

	if len(digits) != len(s) {
		n = -n
	}
	if n < least || n > 1<<31-1 {
		return "it is out of range"
	}

	return ""
}

// decimalFault bounds what any JSON number may be, so that arithmetic on it
// stays cheap. R4 allows exponents; 999 is beyond any measurement.
func decimalFault(s string) string {
	_, exponent, has := strings.Cut(strings.ToLower(s), "e")
	if len(s) > 64 || has && len(strings.TrimLeft(exponent, "+-0")) > 3 {
		return "it has more digits than any measurement"
	}
	return ""
}

func textFault(s string) string {
	if len(s) > 1<<20 {
		return "it is longer than 1 MB"
	}

	blank := true
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\t' || c == '\r' || c == '\n' || c == ' ':
		case c < ' ':
			return "it holds a control character"
		case notCharacter(s[i:]):
			return "it holds U+FFFE or U+FFFF, which are no characters"
		default:
			blank = false
		}
	}

	if blank {
		return "it is blank"
	}
	return ""
}

// notCharacter reports whether a text begins with one of the two code points from
// the space on that XML cannot hold (XML 1.0, 2.2).
func notCharacter(s string) bool {
	return s[0] == 0xef && (strings.HasPrefix(s, "\ufffe") || strings.HasPrefix(s, "\uffff"))
}

// codeFault: no white space at the ends, and single spaces at most within.
func codeFault(s string) string {
	if strings.ContainsAny(s, "\t\r\n\v\f") || s[0] == ' ' || s[len(s)-1] == ' ' ||
		strings.Contains(s, "  ") {
		return "white space is out of place"
	}
	return textFault(s)
}

// uriFault refuses white space, control characters, and schemes that a
// reader's browser would run or that name a local file.
func uriFault(name, s string) string {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c == 0x7f || notCharacter(s[i:]) {
			return "white space and control characters are not allowed"
		}
	}

	scheme, _, found := strings.Cut(s, ":")
	if found && !strings.ContainsAny(scheme, "/?#") {
		switch strings.ToLower(scheme) {
		case "javascript", "vbscript", "file":
			return "this scheme is not allowed"
		case "data":
			if name != "uri" {
				return "this scheme is not allowed"
			}
		}
	}

	switch {
	case name == "oid" && !oid(s):
		return "urn:oid: and numbers with dots are expected"
	case name == "uuid" && !uuid(s):
		return "urn:uuid: and a UUID are expected"
	}

	return ""
}

func oid(s string) bool {
	arcs := strings.Split(strings.TrimPrefix(s, "urn:oid:"), ".")
	if !strings.HasPrefix(s, "urn:oid:") || len(arcs) < 2 || len(arcs[0]) != 1 || arcs[0] > "2" {
		return false
	}

	for _, a := range arcs {
		if a == "" || strings.Trim(a, "0123456789") != "" || len(a) > 1 && a[0] == '0' {
			return false
		}
	}

	return true
}

func uuid(s string) bool {
	const form = "urn:uuid:xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"
	if len(s) != len(form) {
		return false
	}

	for i := range len(form) {
		c := s[i]
		hex := '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f'
		if form[i] == 'x' && i >= 9 && !hex || (form[i] != 'x' || i < 9) && c != form[i] {
			return false
		}
	}

	return true
}

// base64Fault is strict but for the white space that FHIR allows.
func base64Fault(s string) string {
	if _, err := Base64(s); err != nil {
		return "it is not base64 (RFC 4648 section 4)"
	}
	return ""
}

// Base64 decodes a base64Binary strictly: padding in place, no loose bits. White
// space is allowed between characters (R4 datatypes.html).
func Base64(s string) ([]byte, error) {
	if strings.ContainsAny(s, " \t\r\n") {
		s = strings.NewReplacer(" ", "", "\t", "", "\r", "", "\n", "").Replace(s)
	}
	return base64.StdEncoding.Strict().DecodeString(s)
}

// commonDay reports, quickly, whether s is a day that every month has: most dates
// are, and the others are read with care.
func commonDay(s string) bool {
	if len(s) != 10 || s[4] != '-' || s[7] != '-' || s[0] == '0' {
		return false
	}

	for i := 0; i < 10; i++ {
		if i != 4 && i != 7 && (s[i] < '0' || s[i] > '9') {
			return false
		}
	}

	return "01" <= s[5:7] && s[5:7] <= "12" && "01" <= s[8:10] && s[8:10] <= "28"
}

// parseTime reads a date, dateTime, instant or time, and gives the first and
// last moment that it may mean.
func parseTime(name, s string) (first, last time.Time, ok bool) {
	if name == "time" {
		t, ok := clock("1970-01-01T" + s + "Z")
		return t, t, ok
	}
	if len(s) > 10 && name != "date" {
		t, ok := clock(s)
		return t, t, ok
	}
	if name == "instant" {
		return first, last, false
	}

	switch len(s) {
	case 4:
		first, err := time.Parse("2006", s)
		return first, first.AddDate(1, 0, 0).Add(-1), err == nil && s != "0000"
	case 7:
		first, err := time.Parse("2006-01", s)
		return first, first.AddDate(0, 1, 0).Add(-1), err == nil && s[:4] != "0000"
	case 10:
		first, err := time.Parse("2006-01-02", s)
		return first, first.AddDate(0, 0, 1).Add(-1), err == nil && s[:4] != "0000"
	}

	return first, last, false
}

// clock reads YYYY-MM-DDThh:mm:ss, with a fraction if there is one, and a
// zone of at most 14 hours. Second 60 is the moment after 59 (leap seconds).
func clock(s string) (time.Time, bool) {
	if len(s) < 20 || len(s) > 64 || s[10] != 'T' || s[19] == ',' || s[:4] == "0000" {
		return time.Time{}, false
	}

	leap := s[16:19] == ":60"
	if leap {
		s = s[:16] + ":59" + s[19:]
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}, false
	}
	if _, offset := t.Zone(); offset > 14*3600 || offset < -14*3600 {
		return time.Time{}, false
	}

	if leap {
		t = t.Add(time.Second)
	}
	return t, true
}
