// Package splice changes a stored body by putting other bytes in the place of
// a few of its values. All bytes that it does not name stay as they were sent:
// order, spacing, escapes and 1.50 included.
package splice

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"fhirdest.example/fhir/tree"
)

// Edit puts With in the place of the bytes From to To of a body.
type Edit struct {
	From, To int
	With     string
}

// Apply makes a new body with all edits done. Edits may come in any order, but
// must not overlap; those at one place are done in the order given.
func Apply(body []byte, edits ...Edit) []byte {
	edits = slices.Clone(edits)
	slices.SortStableFunc(edits, func(a, b Edit) int {
		return a.From - b.From
	})
	size := len(body)

	for _, e := range edits {
		size += len(e.With) - (e.To - e.From)
	}

	out, at := make([]byte, 0, max(size, 0)), 0

	for _, e := range edits {
		out = append(append(out, body[at:e.From]...), e.With...)
		at = e.To
	}

	return append(out, body[at:]...)
}

// Head is what a server reads of a body before anything else.
type Head struct {
	Type string      // resourceType, never empty
	ID   string      // id as sent, "" when absent; not yet judged, see ValidID
	Meta *tree.Value // nil when absent
}

// Error names the element of the head that is not what FHIR asks for. Code is an
// OperationOutcome issue code.
type Error struct{ Code, Expression, Detail string }

func (e *Error) Error() string {
	return e.Expression + ": " + e.Detail
}

// Read gives the head of a body. Errors are *Error (FHIR R4, json.html: every
// resource names its type; Resource.id and meta).
func Read(root *tree.Value) (Head, error) {
	h := Head{
		Type: root.Get("resourceType").Text(),
		Meta: root.Get("meta"),
	}
	if !typeName(h.Type) {
		return Head{}, &Error{
			"invalid",
			"resourceType",
			"the body does not name its resource type",
		}
	}

	if id := root.Get("id"); id != nil {
		if id.Kind != tree.String {
			return Head{}, &Error{"structure", h.Type + ".id", "the id is not a string"}
		}
		h.ID = id.Text()
	}

	if h.Meta != nil && h.Meta.Kind != tree.Object {
		return Head{}, &Error{"structure", h.Type + ".meta", "meta is not an object"}
	}

	for _, m := range [...]string{"versionId", "lastUpdated"} {
		if v := h.Meta.Get(m); v != nil && v.Kind != tree.String {
			return Head{}, &Error{"structure", h.Type + ".meta." + m, m + " is not a string"}
		}
	}

	return h, nil
}

// ValidID reports whether s is an id that a path or a key may carry: one to 64
// letters, digits, hyphens and dots, not dots alone (FHIR R4, datatypes: id;
// RFC 3986 5.2.4 removes "." and ".." from a path).
func ValidID(s string) bool {
	if len(s) < 1 || len(s) > 64 || strings.Trim(s, ".") == "" {
		return false
	}

	for i := 0; i < len(s); i++ {
		if c := s[i]; !letter(c) && (c < '0' || c > '9') && c != '-' && c != '.' {
			return false
		}
	}

	return true
}

func letter(c byte) bool {
	return 'a' <= c|0x20 && c|0x20 <= 'z'
}

// typeName reports whether s has the form of a resource type's name.
func typeName(s string) bool {
	if len(s) < 1 || len(s) > 64 || s[0] < 'A' || s[0] > 'Z' {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool {
		return r > 127 || !letter(byte(r))
	}) < 0
}

// Identity is what the server alone decides about a stored version.
type Identity struct {
	ID          string
	VersionID   string
	LastUpdated time.Time // written in UTC with milliseconds
}

// InstantFormat is how lastUpdated is written.
const InstantFormat = "2006-01-02T15:04:05.000Z"

// Set puts id, meta.versionId and meta.lastUpdated into a body that Read has
// accepted. Values present are replaced in place; absent ones come
// after resourceType, and first in meta. No other byte changes.
func Set(body []byte, root *tree.Value, to Identity) ([]byte, error) {
	if !ValidID(to.ID) || !ValidID(to.VersionID) {
		return nil, fmt.Errorf(
			"splice: id %q or version %q is not valid",
			to.ID,
			to.VersionID,
		)
	}
	if _, err := Read(root); err != nil {
		return nil, err
	}

	version := quote(to.VersionID)
	updated := quote(to.LastUpdated.UTC().Format(InstantFormat))
	after := root.Get("resourceType").To()
	edits := put(nil, root, after, "id", quote(to.ID))
	if id := root.Get("id"); id != nil {
		after = id.To()
	}
	meta := root.Get("meta")
	switch {
	case meta == nil:
		with := `,"meta":{"versionId":` + version + `,"lastUpdated":` + updated + `}`
		edits = append(edits, Edit{after, after, with})
	case len(meta.Items) == 0:
		with := `{"versionId":` + version + `,"lastUpdated":` + updated + `}`
		edits = append(edits, Edit{meta.From, meta.To(), with})
	default:
		edits = lead(edits, meta, "versionId", version)
		edits = lead(edits, meta, "lastUpdated", updated)
	}

	return Apply(body, edits...), nil
}

// put replaces the member in place, or adds it at a place that follows
// another member's value.
func put(edits []Edit, in *tree.Value, after int, name, with string) []Edit {
	if old := in.Get(name); old != nil {
		return append(edits, Edit{old.From, old.To(), with})
	}
	return append(edits, Edit{after, after, "," + quote(name) + ":" + with})
}

// lead replaces the member in place, or adds it before the first
// member of an object that has some.
func lead(edits []Edit, in *tree.Value, name, with string) []Edit {
	if old := in.Get(name); old != nil {
		return append(edits, Edit{old.From, old.To(), with})
	}
	return append(edits, Edit{in.From + 1, in.From + 1, quote(name) + ":" + with + ","})
}

// quote writes text that holds nothing to escape.
func quote(s string) string { return `"` + s + `"` }
