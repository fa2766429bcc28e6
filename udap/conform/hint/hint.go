package hint

import (
	"bytes"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/trace"
)

// Place is where a client should have asked.
type Place struct {
	Base        string // FHIR base URL, without a slash at its end
	Issuer      string // authorization server, beside it
	Communities []trace.CommunityURI
}

// Bounds of one answer.
const (
	maxHints  = 6
	maxQuoted = 160      // bytes of the other side's text in one hint
	maxBody   = 64 << 10 // bytes of a body that are looked at
	maxTarget = 8 << 10
)

// Find returns what can be said about an exchange that went wrong or nearly so, the
// most telling first: each with a sentence that names what was sent, and a remedy. It
// returns nothing for a request that is as it should be.
func (p Place) Find(e *conform.Exchange) []conform.Finding {
	if e == nil {
		return nil
	}

	h := newHit(p, e)
	var out []conform.Finding
	for _, rules := range groups() {
		for _, r := range rules {
			if len(out) == maxHints {
				return out
			}

			f, ok := r.find(h)
			if !ok {
				continue
			}

			f.Check, f.Verdict, f.Exchange = "hint."+r.name, conform.Warned, e.N
			out = append(out, f)
			if r.alone {
				break // the other rules of the group would describe the same slip
			}
		}
	}

	return out
}

// Names returns the names of all hints, in the order in which they are looked for.
func Names() []string {
	var out []string
	for _, rules := range groups() {
		for _, r := range rules {
			out = append(out, r.name)
		}
	}
	return out
}

func groups() [][]rule {
	return [][]rule{pathRules, queryRules, methodRules, headRules, bodyRules, formRules, jwtRules}
}

// rule recognises one slip.
type rule struct {
	name  string
	find  func(*hit) (conform.Finding, bool)
	alone bool // no further rule of the group is looked at once one has fitted
}

// no is what a rule returns that does not fit.
func no() (conform.Finding, bool) { return conform.Finding{}, false }

// yes is what a rule returns that fits.
func yes(text, found, remedy string) (conform.Finding, bool) {
	return conform.Finding{
		Text:   text,
		Found:  quoted(found),
		Remedy: remedy,
	}, true
}

// quoted bounds a text of the other side, and replaces what cannot be seen.
func quoted(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !trace.Visible(r) {
			return '\uFFFD'
		}
		return r
	}, s)
	return trace.Cut(s, maxQuoted)
}

// hit is one request, taken apart.
type hit struct {
	place Place
	e     *conform.Exchange

	path, query string // of the target, as written
	asked       bool   // the target has a question mark
	body        []byte

	site, base, issuer string // paths
	known              string // which of our URLs the path is; empty: none

	decoded bool  // wrong is known
	wrong   error // why the body is no JSON
}

func newHit(p Place, e *conform.Exchange) *hit {
	h := &hit{
		place:  p,
		e:      e,
		base:   pathOf(p.Base),
		issuer: pathOf(p.Issuer),
		body:   e.Request.Body[:min(len(e.Request.Body), maxBody)],
	}
	h.site = h.base[:max(strings.LastIndexByte(h.base, '/'), 0)]

	target := e.Target[:min(len(e.Target), maxTarget)]
	if _, rest, absolute := strings.Cut(target, "://"); absolute && !strings.HasPrefix(target, "/") {
		target = rest[max(strings.IndexByte(rest, '/'), 0):]
	}
	h.path, h.query, h.asked = strings.Cut(target, "?")
	h.known = h.endpoint(h.path)

	return h
}

func pathOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.EscapedPath()
}

// failed reports whether the request was answered by a refusal, or not at all.
func (h *hit) failed() bool { return h.e.Status == 0 || h.e.Status >= 400 }

// The URLs of a destination, by what each is for.
const (
	metadata  = "UDAP metadata"
	documents = "a discovery document"
	register  = "the registration endpoint"
	authorize = "the authorization endpoint"
	token     = "the token endpoint"
	about     = "the introspection or revocation endpoint"
	keys      = "the key set"
	records   = "the FHIR base URL"
	record    = "FHIR"
)

// endpoint returns which of our URLs a path is; empty: none.
func (h *hit) endpoint(path string) string {
	switch path {
	case h.base + "/.well-known/udap":
		return metadata
	case h.base + "/.well-known/smart-configuration", h.issuer + "/.well-known/openid-configuration",
		"/.well-known/oauth-authorization-server" + h.issuer:
		return documents
	case h.issuer + "/register":
		return register
	case h.issuer + "/authorize":
		return authorize

	case h.issuer + "/token":
		return token
	case h.issuer + "/introspect", h.issuer + "/revoke":
		return about
	case h.issuer + "/jwks", h.issuer + "/userinfo":
		return keys
	case h.base:
		return records
	}

	if rest, ok := strings.CutPrefix(path, h.base+"/"); ok && isFHIR(rest) {
		return record
	}
	return ""
}

// short returns a path as people know it: from the session's part on.
func (h *hit) short(path string) string {
	i := strings.LastIndexByte(h.site, '/')
	if rest, ok := strings.CutPrefix(path, h.site[:max(i, 0)]); ok && i > 0 {
		return "…" + quoted(rest)
	}
	return quoted(path)
}

// field returns the values of a header field of the request.
func (h *hit) field(name string) []string {
	var out []string
	for line := range bytes.SplitSeq(h.e.Request.Head, []byte("\n")) {
		n, v, ok := bytes.Cut(line, []byte(":"))
		if ok && strings.EqualFold(string(n), name) {
			out = append(out, strings.TrimSpace(string(v)))
		}
	}
	return out
}

// one returns the only value of a header field; empty: there is none, or several.
func (h *hit) one(name string) string {
	if v := h.field(name); len(v) == 1 {
		return v[0]
	}
	return ""
}

// form returns the parameters of a body that was meant as a form, in their order.
func (h *hit) form() []parameter {
	text := string(h.body)
	if text == "" || !h.wantsForm() || strings.HasPrefix(strings.TrimSpace(text), "{") {
		return nil
	}
	return parameters(text)
}

// parameter is one of a form or a query. A value that cannot be decoded stays as it is.
type parameter struct{ name, value, raw string }

// maxParameters bounds how many are looked at.
const maxParameters = 64

func parameters(text string) []parameter {
	var out []parameter
	for pair := range strings.SplitSeq(text, "&") {
		if len(out) == maxParameters {
			break
		}

		rawName, raw, _ := strings.Cut(pair, "=")
		out = append(out, parameter{
			name:  unescaped(rawName),
			value: unescaped(raw),
			raw:   raw,
		})
	}

	return out
}

func unescaped(s string) string {
	if out, err := url.QueryUnescape(s); err == nil {
		return out
	}
	return s
}

// wantsForm reports whether the endpoint's body is a form, and wantsJSON whether it is JSON.
func (h *hit) wantsForm() bool { return h.known == token || h.known == about }

func (h *hit) wantsJSON() bool {
	if h.known == register {
		return true
	}
	changes := slices.Contains([]string{"POST", "PUT", "PATCH"}, h.e.Method)
	return changes && (h.known == record || h.known == records) && strings.Contains(h.one("Content-Type"), "json")
}
