package scope

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// MaxLength bounds one scope, in bytes: the longest that the guides show, a
// granular scope with a full code system URL, is under half of it.
const MaxLength = 512

// ErrNotResource is returned for text that is no resource scope at all, such
// as openid or fhirUser: it may still be a scope of another kind.
var ErrNotResource = errors.New("not a resource scope")

const (
	permissionLetters = "cruds"
	everything        = Create | Read | Update | Delete | Search
	matchOperation    = "$match"
)

// Parse reads one resource scope of SMART App Launch 1 (`system/Patient.read`)
// or 2 (`system/Patient.rs?category=...`), strictly: letters in the order
// cruds and each at most once, no modifier, chain or repeated name in a
// granular query. What it refuses grants nothing. The operation Patient/$match has
// the scope system/Patient.$match: patients must not ask for matches themselves
// (Identity Matching 2.0, Match Requirements), so no other context has it.
func Parse(text string) (Scope, error) {
	context, rest, found := strings.Cut(text, "/")
	if !found || !knownContext(context) {
		return Scope{}, fmt.Errorf("scope %.80q: %w", text, ErrNotResource)
	}
	if err := checkText(text); err != nil {
		return Scope{}, err
	}

	rest, query, granular := strings.Cut(rest, "?")
	resource, permission, found := strings.Cut(rest, ".")
	if !found {
		return Scope{}, fmt.Errorf(
			"scope %.80q: no permission after the resource type",
			text,
		)
	}
	if !wellFormedType(resource) {
		return Scope{}, fmt.Errorf(
			"scope %.80q: %.40q is no resource type",
			text,
			resource,
		)
	}

	s := Scope{
		Raw:     text,
		Context: context,
		Type:    resource,
	}

	var err error
	if s.Allowed, s.V1, err = parsePermission(permission); err != nil {
		return Scope{}, fmt.Errorf("scope %.80q: %w", text, err)
	}

	if s.Allowed == Match && (context != "system" || resource != "Patient" || granular) {
		return Scope{}, fmt.Errorf("scope %.80q: %s is of system/Patient only", text, matchOperation)
	}

	if granular {
		if s.V1 {
			return Scope{}, fmt.Errorf(
				"scope %.80q: only scopes of edition 2 may have a query",
				text,
			)
		}
		if s.Query, err = parseQuery(query); err != nil {
			return Scope{}, fmt.Errorf("scope %.80q: %w", text, err)
		}
	}

	return s, nil
}

// ParseSet reads a list of scopes. Those that are well-formed resource scopes
// come back as a Set, all others as they were written.
func ParseSet(texts []string) (set Set, others []string) {
	for _, text := range texts {
		if s, err := Parse(text); err == nil {
			set = append(set, s)
		} else {
			others = append(others, text)
		}
	}
	return set, others
}

func knownContext(s string) bool {
	return s == "system" || s == "user" || s == "patient"
}

// checkText bounds a scope and holds it to RFC 6749 3.3:
// scope-token = 1*( %x21 / %x23-5B / %x5D-7E ).
func checkText(text string) error {
	if text == "" || len(text) > MaxLength {
		return fmt.Errorf("scope of %d bytes: expected 1 to %d", len(text), MaxLength)
	}

	for i := range len(text) {
		if c := text[i]; c < 0x21 || c > 0x7e || c == '"' || c == '\\' {
			return fmt.Errorf("scope %.80q: byte 0x%02x is not allowed", text, c)
		}
	}

	return nil
}

// wellFormedType reports whether s can be the name of a resource type; whether
// the server has that type depends on its list of supported scopes.
func wellFormedType(s string) bool {
	if s == "*" {
		return true
	}
	if len(s) < 2 || len(s) > 64 || s[0] < 'A' || s[0] > 'Z' {
		return false
	}

	for i := range len(s) {
		if c := s[i] | 0x20; c < 'a' || c > 'z' {
			return false
		}
	}

	return true
}

// parsePermission reads the part after the dot: the words of edition 1 or the
// letters of edition 2 (SMART App Launch 2, scopes and launch context).
func parsePermission(s string) (p Permission, v1 bool, err error) {
	switch s {
	case "read":
		return Read | Search, true, nil
	case "write":
		return Create | Update | Delete, true, nil
	case "*":
		return everything, true, nil
	case matchOperation:
		return Match, false, nil
	case "":
		return 0, false, errors.New("no permission after the dot")
	}

	next := 0
	for i := range len(s) {
		at := strings.IndexByte(permissionLetters[next:], s[i])
		if at < 0 {
			return 0, false, fmt.Errorf(
				"permission %.20q: expected letters of %q, in that order and each at most once, or read, write, *",
				s, permissionLetters)
		}

		p |= 1 << (next + at)
		next += at + 1
	}

	return p, false, nil
}

// parseQuery reads a granular restriction. Names are plain search parameters:
// a modifier, a chain, a result parameter or a repeated name is refused, since
// each of them can widen what a scope of this form allows.
func parseQuery(s string) ([]Param, error) {
	var out []Param
	for _, pair := range strings.Split(s, "&") {
		name, escaped, found := strings.Cut(pair, "=")
		if !found || !wellFormedParam(name) {
			return nil, fmt.Errorf(
				"query %.60q: expected name=value with a plain search parameter",
				pair,
			)
		}

		for _, earlier := range out {
			if earlier.Name == name {
				return nil, fmt.Errorf("query parameter %q is there twice", name)
			}
		}

		value, err := url.PathUnescape(escaped)
		if err != nil || value == "" || strings.ContainsFunc(value, isControl) {
			return nil, fmt.Errorf(
				"query parameter %q: empty or badly escaped value",
				name,
			)
		}
		out = append(out, Param{
			Name:  name,
			Value: value,
		})
	}

	return out, nil
}

func isControl(r rune) bool {
	return r < 0x20 || r == 0x7f || r == '�'
}

func wellFormedParam(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}

	for i := range len(s) {
		c := s[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (i == 0 || c != '-' && (c < '0' || c > '9')) {
			return false
		}
	}

	return true
}

// String writes the letters of a permission in the order of edition 2, or the
// name of the operation.
func (p Permission) String() string {
	if p == Match {
		return matchOperation
	}

	var b strings.Builder
	for i := range len(permissionLetters) {
		if p&(1<<i) != 0 {
			b.WriteByte(permissionLetters[i])
		}
	}
	return b.String()
}

// Wildcard reports whether a scope names all resource types, or all permissions
// by edition 1's star: UDAP Security 2.0, 7.3 has rules of its own for those.
func (s Scope) Wildcard() bool {
	return s.Type == "*" || s.V1 && s.Allowed == everything
}

// String writes a scope: as it came, or, for one made here, in the form of
// edition 1 if it was asked for in that form and has one.
func (s Scope) String() string {
	if s.Raw != "" {
		return s.Raw
	}
	if word := s.v1Word(); s.V1 && word != "" && len(s.Query) == 0 {
		return s.Context + "/" + s.Type + "." + word
	}

	text := s.Context + "/" + s.Type + "." + s.Allowed.String()
	before := "?"
	for _, q := range s.Query {
		text += before + q.Name + "=" + escapeValue(q.Value)
		before = "&"
	}

	return text
}

func (s Scope) v1Word() string {
	switch s.Allowed {
	case Read | Search:
		return "read"
	case Create | Update | Delete:
		return "write"
	case everything:
		return "*"
	}

	return ""
}

// escapeValue percent-encodes what a scope may not carry or what would end the
// value; code system URLs stay readable.
func escapeValue(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c <= 0x20 || c >= 0x7f || strings.IndexByte(`"\&%#+`, c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
			continue
		}
		b.WriteByte(c)
	}

	return b.String()
}

// For returns those scopes of the set that allow all of p on a resource type,
// in order; none means that it is not allowed. A granular scope allows only
// resources that match its Query.
func (set Set) For(resourceType string, p Permission) []Scope {
	if p == 0 {
		return nil
	}

	var out []Scope
	for _, s := range set {
		if (s.Type == "*" || s.Type == resourceType) && s.Allowed&p == p {
			out = append(out, s)
		}
	}

	return out
}
