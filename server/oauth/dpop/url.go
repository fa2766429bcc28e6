package dpop

import (
	"net/url"
	"strings"
)

// sameURL reports whether htu names the URL of a request. Query and fragment of htu
// do not count, and spellings of one URL are equal: the case of scheme and host, the
// default port, an empty path, and how characters are percent-encoded that need not
// be (RFC 9449 4.3; RFC 3986 6.2.2 and 6.2.3).
func sameURL(htu, want string) bool {
	a, ok := canonicalURL(htu)
	if !ok {
		return false
	}
	b, ok := canonicalURL(want)
	return ok && a == b
}

func canonicalURL(text string) (canonical string, ok bool) {
	if i := strings.IndexAny(text, "?#"); i >= 0 {
		text = text[:i]
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.Opaque != "" {
		return "", false
	}

	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	if scheme == "https" {
		host = strings.TrimSuffix(host, ":443")
	}

	_, rest, _ := strings.Cut(text, "://")
	path := ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		path = rest[i:]
	}
	if path == "" {
		path = "/"
	}

	return scheme + "://" + host + canonicalPath(path), true
}

// canonicalPath decodes the percent-encodings of unreserved characters and writes
// the others in upper case.
func canonicalPath(path string) string {
	if strings.IndexByte(path, '%') < 0 {
		return path
	}

	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] != '%' || i+2 >= len(path) {
			b.WriteByte(path[i])
			continue
		}

		escape := path[i : i+3]
		i += 2
		if c, err := url.PathUnescape(escape); err == nil && unreserved(c[0]) {
			b.WriteString(c)
		} else {
			b.WriteString(strings.ToUpper(escape))
		}
	}

	return b.String()
}

func unreserved(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return strings.IndexByte("-._~", c) >= 0
}
