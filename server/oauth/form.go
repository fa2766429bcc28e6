package oauth

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// maxParameters bounds a form.
const maxParameters = 64

// Params are the parameters of a form body that have a value. One that was sent
// without a value counts as left out (RFC 6749 3.1 and 3.2).
type Params map[string]string

// parseForm parses an application/x-www-form-urlencoded body strictly: no
// parameter has two values (RFC 6749 3.2), and every percent sign begins an
// escape. Parameters without a value are left out, however often they are sent.
func parseForm(body string) (Params, error) {
	p := Params{}
	if body == "" {
		return p, nil
	}
	if n := strings.Count(body, "&"); n >= maxParameters {
		return nil, fmt.Errorf("%d parameters, at most %d are allowed", n+1, maxParameters)
	}

	for pair := range strings.SplitSeq(body, "&") {
		rawName, rawValue, _ := strings.Cut(pair, "=")
		name, err := unescape(rawName)
		if err != nil {
			return nil, fmt.Errorf("a parameter's name is badly escaped")
		}

		value, err := unescape(rawValue)
		if err != nil {
			return nil, fmt.Errorf("the value of parameter %.40q is badly escaped", name)
		}
		if value == "" {
			continue
		}
		if _, twice := p[name]; twice {
			return nil, fmt.Errorf("the parameter %.40q has two values", name)
		}

		p[name] = value
	}

	return p, nil
}

// parseQuery parses the parameters of an authorization request. It returns the
// names that have two values; every other mistake is an error.
func parseQuery(query string) (p Params, twice []string, err error) {
	p = Params{}
	if n := strings.Count(query, "&"); n >= maxParameters {
		return nil, nil, fmt.Errorf("%d parameters, at most %d are allowed", n+1, maxParameters)
	}

	for pair := range strings.SplitSeq(query, "&") {
		rawName, rawValue, _ := strings.Cut(pair, "=")
		name, err1 := url.QueryUnescape(rawName)
		value, err2 := url.QueryUnescape(rawValue)
		switch {
		case err1 != nil || err2 != nil:
			return nil, nil, fmt.Errorf("a parameter that is badly escaped")
		case value == "":
			continue
		case p[name] != "":
			twice = append(twice, name)
		}

		p[name] = value
	}

	slices.Sort(twice)
	return p, slices.Compact(twice), nil
}

// unescape decodes a name or a value. Most have no escape, authentication
// tokens above all, which are long: they are not copied.
func unescape(s string) (string, error) {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s, nil
	}
	return url.QueryUnescape(s)
}
