package assess

import (
	"net/url"
	"strings"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/jose"
)

// place is what a target leads to.
type place string

const (
	metadata   place = "metadata" // of UDAP
	documents  place = "documents"
	register   place = "register"
	authorize  place = "authorize"
	pages      place = "pages" // of signing in and granting
	token      place = "token"
	revoke     place = "revoke"
	introspect place = "introspect"
	records    place = "records" // FHIR
	elsewhere  place = "elsewhere"
)

// endpoints are the places by the first segment below the issuer.
var endpoints = map[string]place{
	"register":    register,
	"authorize":   authorize,
	"token":       token,
	"revoke":      revoke,
	"introspect":  introspect,
	"userinfo":    records,
	"jwks":        documents,
	".well-known": documents,
	"signin":      pages,
	"signout":     pages,
	"consent":     pages,
	"grants":      pages,
	"callback":    pages,
	"launch":      pages,
}

// locate returns the place of a request target, by the segments fhir and oauth that
// the bases of every site end with.
func locate(target string) place {
	segments := strings.Split(strings.Trim(pathOf(target), "/"), "/")
	for i, s := range segments {
		next := ""
		if i+1 < len(segments) {
			next = segments[i+1]
		}

		switch s {
		case "oauth":
			if p, ok := endpoints[next]; ok {
				return p
			}
			return elsewhere
		case "fhir":
			return below(segments[i+1:])
		}
	}

	return elsewhere
}

// locate returns the place of a request target, by the session's own URLs first.
func (s Setting) locate(target string) place {
	path := pathOf(target)
	if rest, ok := under(path, s.Issuer); ok {
		name, _, _ := strings.Cut(rest, "/")
		if p, ok := endpoints[name]; ok {
			return p
		}
	}
	if rest, ok := under(path, s.Base); ok {
		return below(strings.Split(rest, "/"))
	}

	return locate(target)
}

// under returns the rest of a path below a URL, and whether it is there or below.
func under(path, base string) (rest string, ok bool) {
	if base == "" {
		return "", false
	}
	rest, ok = strings.CutPrefix(path+"/", strings.TrimSuffix(pathOf(base), "/")+"/")
	return strings.Trim(rest, "/"), ok
}

// below returns the place of a path below a FHIR base.
func below(segments []string) place {
	if len(segments) == 0 {
		return records
	}

	switch last := segments[len(segments)-1]; {
	case segments[0] == ".well-known" && last == "udap":
		return metadata
	case segments[0] == ".well-known", segments[0] == "metadata":
		return documents
	}
	return records
}

// Classify returns what a client wants by a request, from its method, its target and
// as much of its body as is known.
func Classify(method, target string, body []byte) conform.Step {
	switch locate(target) {
	case metadata, documents:
		return conform.Discover
	case authorize, pages:
		return conform.Authorize
	case records:
		return conform.Read
	case revoke:
		return conform.Cancel

	case register:
		if cancels(body) {
			return conform.Cancel
		}
		return conform.Register

	case token:
		form, _ := url.ParseQuery(string(body))
		if form.Get("grant_type") == "refresh_token" {
			return conform.Refresh
		}
		return conform.Token
	}

	return conform.Other
}

// cancels reports whether a registration request has a statement with empty grant
// types (UDAP Dynamic Client Registration 6).
func cancels(body []byte) bool {
	request, err := jose.ParseObject(body)
	if err != nil {
		return false
	}

	compact, _ := request.Text("software_statement")
	d := decode(statement, compact)
	return d.cancels()
}
