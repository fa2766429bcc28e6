package narrative

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
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

// decode resolves references. XHTML's own entities (&nbsp;) are not XML's and
// FHIR forbids them; so are characters that XML does not have.
func (s *scanner) decode(text string) (string, error) {
	for i := 0; i < len(text); i++ {
		if text[i] < ' ' && strings.IndexByte("\t\r\n", text[i]) < 0 {
			return "", errors.New("the narrative holds a control character")
		}
	}

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

	digits, base := name, 10
	if !strings.HasPrefix(name, "#") {
		return 0, false
	}

	if digits = name[1:]; strings.HasPrefix(digits, "x") {
		digits, base = digits[1:], 16
	}
	n, err := strconv.ParseUint(digits, base, 32)
	r := rune(n)
	ok := err == nil && n <= utf8.MaxRune && utf8.ValidRune(r) && (r >= ' ' || r == '\t' || r == '\n' || r == '\r')
	return r, ok
}

// link judges where a link leads: to the web, to a mailbox, a telephone, a
// place in the text, or relative to the base.
func link(value string) error {
	switch scheme := schemeOf(value); scheme {
	case "", "http", "https", "mailto", "tel":
		return nil
	default:
		return fmt.Errorf("a link of scheme %.20q is not allowed", scheme)
	}
}

// image judges where an image comes from. One from another server would tell
// that server who reads about this patient, so only embedded images, and
// those of this resource or server, are allowed.
func image(value string) error {
	scheme, rest := schemeOf(value), strings.TrimLeft(value, " \t\r\n")
	switch {
	case scheme == "data":
		for _, kind := range []string{"png", "jpeg", "gif"} {
			if strings.HasPrefix(strings.ToLower(rest), "data:image/"+kind+";base64,") {
				return nil
			}
		}
		return errors.New("embedded data other than a PNG, JPEG or GIF image is not allowed")

	case scheme != "" || strings.HasPrefix(strings.ReplaceAll(rest, `\`, "/"), "//"):
		return errors.New("an image from another place is not allowed: it would tell who reads")
	}

	return nil
}

// schemeOf gives a URL's scheme in lower case, as a browser finds it: control
// characters and white space do not hide it. "" for a relative reference.
func schemeOf(value string) string {
	var plain strings.Builder
	for _, r := range value {
		if r > ' ' && r != 0x7f && r != '\u00a0' && r != '\u2028' && r != '\u2029' {
			plain.WriteRune(r)
		}
	}

	scheme, _, found := strings.Cut(plain.String(), ":")
	if !found || strings.ContainsAny(scheme, "/?#") {
		return ""
	}
	return strings.ToLower(scheme)
}

// style refuses what makes a style fetch from elsewhere, run or hide:
// addresses, imports, expressions, bindings, and the escapes and comments that
// disguise them. Two addresses stay here and are allowed, as HL7's own
// publisher writes them: an image embedded whole, and a plain file name.
func style(value string) error {
	plain := strings.ToLower(withoutOwnImages(value))
	for _, bad := range []string{
		"url", "expression", "@", "javascript", "behavior", "binding", `\`, "/*", "<", "image(",
	} {
		if strings.Contains(plain, bad) {
			return fmt.Errorf("a style with %q is not allowed", bad)
		}
	}
	return nil
}

// withoutOwnImages takes the allowed addresses out of a style.
func withoutOwnImages(value string) string {
	var out strings.Builder
	for {
		before, after, found := strings.Cut(value, "url(")
		out.WriteString(before)
		if !found {
			return out.String()
		}

		address, rest, closed := strings.Cut(after, ")")
		if !closed || !ownImage(address) {
			return value
		}
		value = rest
	}
}

// ownImage tells whether an address is an embedded image, nothing but base64
// after the comma, or the name of an image beside the page.
func ownImage(address string) bool {
	for _, kind := range []string{"png", "jpeg", "gif"} {
		if data, embedded := strings.CutPrefix(address, "data:image/"+kind+";base64,"); embedded {
			return strings.Trim(data, alphanumeric+"+/=") == ""
		}
		if name, file := strings.CutSuffix(address, "."+kind); file && name != "" {
			return strings.Trim(name, alphanumeric+"-_") == ""
		}
	}
	return false
}

const alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
