package oauth

import (
	"fmt"
	"net/url"
	"strings"
)

// maxParameters bounds a form.
const maxParameters = 64

// Params are the parameters of a form body, each once.
type Params map[string]string

// has tells whether a parameter was sent with a value: one without is treated
// as if it was left out (RFC 6749 3.2).
func (p Params) has(name string) bool { return p[name] != "" }

// parseForm reads an application/x-www-form-urlencoded body strictly: no
// parameter twice (RFC 6749 3.2), no loose percent sign.
func parseForm(body string) (Params, error) {
	p := Params{}
	if body == "" {
		return p, nil
	}
	if n := strings.Count(body, "&"); n >= maxParameters {
		return nil, fmt.Errorf("%d parameters, at most %d are allowed", n+1, maxParameters)
	}

	for _, pair := range strings.Split(body, "&") {
		rawName, rawValue, _ := strings.Cut(pair, "=")
		name, err := unescape(rawName)
		if err != nil {
			return nil, fmt.Errorf("a parameter's name is badly escaped")
		}

		value, err := unescape(rawValue)
		if err != nil {
			return nil, fmt.Errorf("the value of parameter %.40q is badly escaped", name)
		}
		if _, twice := p[name]; twice {
			return nil, fmt.Errorf("parameter %.40q stands twice", name)
		}
		p[name] = value
	}

	return p, nil
}

// unescape leaves alone what has nothing to be undone: an authentication token
// is long and has not.
func unescape(s string) (string, error) {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s, nil
	}
	return url.QueryUnescape(s)
}
