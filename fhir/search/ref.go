package search

import "strings"

// Bases are the server's own base URLs, without a slash at the end. References
// under them are the same as relative ones.
type Bases []string

// Ref is a literal reference to a resource of this server.
type Ref struct{ Type, ID, Version string }

// ParseRef reads a relative reference, or one under one of the server's own
// bases. Any other gives the zero Ref.
func (bases Bases) ParseRef(s string) Ref {
	for _, b := range bases {
		if rest, ok := strings.CutPrefix(s, b); ok && strings.HasPrefix(rest, "/") {
			s = rest[1:]
			break
		}
	}

	typ, rest, ok := strings.Cut(s, "/")
	if !ok || !IsType(typ) {
		return Ref{}
	}

	id, version, versioned := strings.Cut(rest, "/_history/")
	if !ValidID(id) || versioned && !ValidID(version) {
		return Ref{}
	}
	return Ref{typ, id, version}
}

// foreignType is the type that a reference to another server names.
func foreignType(s string) string {
	parts := strings.Split(s, "/")
	if n := len(parts); n > 2 && IsType(parts[n-2]) {
		return parts[n-2]
	}
	return ""
}

// ValidID reports whether s is a FHIR id: [A-Za-z0-9\-\.]{1,64}.
func ValidID(s string) bool {
	if len(s) == 0 || len(s) > 64 {
		return false
	}

	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' ||
			c == '.') {
			return false
		}
	}

	return true
}
