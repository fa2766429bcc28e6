package narrative

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// everywhere lists the attributes that any element may carry.
const everywhere = "id class style title lang xml:lang dir"

// elements is the white list: the elements of HTML 4.0 chapters 7 to 11
// (without 9.4) and 15 that are not deprecated, a and img, each with its own
// attributes. Event attributes, forms, scripts, frames and objects are absent.
var elements = map[string]string{
	"a": "href name rel rev hreflang", "abbr": "", "acronym": "", "address": "", "b": "", "bdo": "", "big": "",
	"blockquote": "cite", "br": "", "caption": "", "cite": "", "code": "",
	"col": "span width align valign", "colgroup": "span width align valign",
	"dd": "", "dfn": "", "div": "", "dl": "", "dt": "", "em": "",
	"h1": "", "h2": "", "h3": "", "h4": "", "h5": "", "h6": "", "hr": "", "i": "",
	"img": "src alt width height longdesc", "kbd": "", "li": "", "ol": "", "p": "", "pre": "", "q": "cite",
	"samp": "", "small": "", "span": "", "strong": "", "sub": "", "sup": "",
	"table": "summary width border frame rules cellspacing cellpadding",
	"tbody": "align valign", "td": "abbr axis headers scope rowspan colspan align valign",
	"tfoot": "align valign", "th": "abbr axis headers scope rowspan colspan align valign",
	"thead": "align valign", "tr": "align valign", "tt": "", "ul": "", "var": "",
}

// notXML reports whether XML does not have a character (XML 1.0, 2.2).
func notXML(r rune) bool {
	return r < ' ' && r != '\t' && r != '\r' && r != '\n' || r == 0xfffe || r == 0xffff
}

// decode resolves references. XHTML's own entities (&nbsp;) are not XML's and
// FHIR forbids them; so are characters that XML does not have.
func (s *scanner) decode(text string) (string, error) {
	if strings.IndexByte(text, '&') < 0 {
		return text, nil
	}

	var out strings.Builder
	for {
		before, after, found := strings.Cut(text, "&")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}

		name, rest, ended := strings.Cut(after, ";")
		r, ok := entity(name)
		if !ended || !ok {
			return "", fmt.Errorf("&%.12s is not a reference that XML knows", name)
		}

		out.WriteRune(r)
		text = rest
	}
}

// maxReference bounds a reference, most of which would be zeros.
const maxReference = 60

// entity gives the character of a reference between & and ;.
func entity(name string) (rune, bool) {
	switch name {
	case "lt":
		return '<', true
	case "gt":
		return '>', true
	case "amp":
		return '&', true
	case "quot":
		return '"', true

	case "apos":
		return '\'', true
	}

	digits := name
	base := 10
	if !strings.HasPrefix(name, "#") || len(name) > maxReference {
		return 0, false
	}

	if digits = name[1:]; strings.HasPrefix(digits, "x") {
		digits, base = digits[1:], 16
	}
	n, err := strconv.ParseUint(digits, base, 32)
	r := rune(n)
	return r, err == nil && n <= utf8.MaxRune && utf8.ValidRune(r) && !notXML(r)
}

// linkSchemes lists the schemes of links. Others run what they hold, show it as if
// it were a page of the server, or open another program. A urn: leads nowhere: in a
// transaction it stands for the reference that it becomes.
var linkSchemes = map[string]bool{
	"":       true, // relative
	"http":   true,
	"https":  true,
	"mailto": true,
	"tel":    true,
	"urn":    true,
}

// checkLink refuses a link that is active content or opens another program.
func checkLink(value string) error {
	if scheme, _ := splitScheme(value); !linkSchemes[scheme] {
		return fmt.Errorf("a link of scheme %.20q is not allowed", scheme)
	}
	return nil
}

// checkImage refuses an image that is active content, or that is fetched from
// somewhere else: that would show another server who reads about this patient. An
// embedded one must be a PNG, JPEG or GIF: SVG may hold scripts.
func checkImage(value string) error {
	scheme, rest := splitScheme(value)
	switch {
	case scheme == "data" && embeddedImage(rest):
		return nil
	case scheme == "data":
		return errors.New("embedded data other than a PNG, JPEG or GIF image is not allowed")
	case scheme == "urn": // in a transaction: a reference to what becomes a resource
		return nil
	case scheme != "":
		return fmt.Errorf("an image of scheme %.20q is not allowed: it would be fetched from elsewhere", scheme)
	}

	if len(rest) > 1 && strings.Trim(rest[:2], `/\`) == "" { // browsers take either slash
		return errors.New("an image of another server is not allowed: it would show that server who reads this")
	}
	return nil
}

// embeddedImage reports whether what follows "data:" is a harmless image.
func embeddedImage(data string) bool {
	kind, _, found := strings.Cut(strings.ToLower(data), ",")
	kind, _, _ = strings.Cut(kind, ";")
	switch kind {
	case "image/png", "image/jpeg", "image/jpg", "image/gif":
		return found
	}
	return false
}

// splitScheme returns a URL's scheme in lower case and what follows it, as a
// browser finds it: control characters and white space do not hide it. The
// scheme of a relative reference is "".
func splitScheme(value string) (scheme, rest string) {
	var plain strings.Builder
	for _, r := range value {
		if r > ' ' && r != 0x7f && r != '\u00a0' && r != '\u2028' && r != '\u2029' {
			plain.WriteRune(r)
		}
	}

	scheme, rest, found := strings.Cut(plain.String(), ":")
	if !found || strings.ContainsAny(scheme, "/?#") {
		return "", plain.String()
	}
	return strings.ToLower(scheme), rest
}

// activeStyles are the parts of styles that run something in some browser, or
// fetch without url().
var activeStyles = []string{
	"expression(", "javascript:", "vbscript:", "livescript:", "mocha:", "behavior:", "behaviour:", "-moz-binding",
	"@import", "image-set(", "image(", "src(", "cross-fade(", "element(", "paint(",
}

// checkStyle refuses a style that is active content or fetches something from
// elsewhere, also behind the escapes and comments that disguise it. Within a string or
// an address /* begins no comment, so that both readings are checked.
func checkStyle(value string) error {
	for _, comments := range []bool{true, false} {
		plain, err := plainStyle(value, comments)
		if err != nil {
			return err
		}
		if err := checkPlainStyle(plain); err != nil {
			return err
		}
	}

	return nil
}

// checkPlainStyle checks what plainStyle returns.
func checkPlainStyle(plain string) error {
	for _, bad := range activeStyles {
		if strings.Contains(plain, bad) {
			return fmt.Errorf("a style with %q is not allowed", bad)
		}
	}

	for _, after := range strings.Split(plain, "data:")[1:] {
		if !embeddedImage(after) {
			return errors.New("a style with embedded data other than a PNG, JPEG or GIF image is not allowed")
		}
	}

	for _, after := range strings.Split(plain, "url(")[1:] {
		address, _, _ := strings.Cut(after, ")")
		if err := checkImage(strings.Trim(address, `"'`)); err != nil {
			return fmt.Errorf("in a style, %w", err)
		}
	}

	return nil
}

// plainStyle returns a style in lower case without white space and escapes, and without
// comments where there are any (CSS 2.1 4.1.3 and 4.1.9).
func plainStyle(value string, comments bool) (string, error) {
	var out strings.Builder
	for value != "" {
		if rest, ok := strings.CutPrefix(value, "/*"); ok && comments {
			_, after, closed := strings.Cut(rest, "*/")
			if !closed {
				return "", errors.New("a comment in a style does not end")
			}

			value = after
			continue
		}

		r, size := utf8.DecodeRuneInString(value)
		if r == '\\' {
			r, size = unescape(value)
		}
		value = value[size:]
		if r > ' ' && r != 0x7f {
			out.WriteRune(unicode.ToLower(r))
		}
	}

	return out.String(), nil
}

// unescape reads an escape of CSS: a backslash with up to six hexadecimal digits
// and one white space, or with one other character.
func unescape(s string) (r rune, size int) {
	size = 1
	for size < len(s) && size < 7 && strings.IndexByte("0123456789abcdefABCDEF", s[size]) >= 0 {
		size++
	}

	if size == 1 { // no digits
		r, n := utf8.DecodeRuneInString(s[1:])
		return r, 1 + n
	}

	n, _ := strconv.ParseUint(s[1:size], 16, 32)
	if size < len(s) && strings.IndexByte(" \t\r\n\f", s[size]) >= 0 {
		size++
	}
	return rune(n), size
}
