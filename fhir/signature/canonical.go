// Package signature verifies and makes digital signatures of FHIR resources: detached
// JWSs over canonical JSON (FHIR R4 signatures.html, json.html 2.6.2.6).
package signature

import (
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/fhir/tree"
)

// Form is a canonical form of JSON, by its URI.
type Form string

// The forms of FHIR R4. All have members in the order of their names' UTF-16 code
// units, no white space outside strings, strings with as few escapes as can be, and
// numbers as they were written: 1.50 stays 1.50, unlike in RFC 8785. No form of a
// Bundle has its signature, which could not sign itself.
const (
	Whole     Form = "http://hl7.org/fhir/canonicalization/json"
	Data      Form = Whole + "#data"      // without the narrative
	Static    Form = Whole + "#static"    // without narrative and meta
	Narrative Form = Whole + "#narrative" // resourceType, id and narrative alone
	Document  Form = Whole + "#document"  // a Bundle without id and meta
)

// Forms are all forms.
func Forms() []Form { return []Form{Whole, Data, Static, Narrative, Document} }

// covers reports whether a form has a member of a resource of a type.
func (f Form) covers(typ, member string) bool {
	if typ == "Bundle" && member == "signature" {
		return false
	}

	switch f {
	case Data:
		return member != "text"
	case Static:
		return member != "text" && member != "meta"
	case Narrative:
		return member == "resourceType" || member == "id" || member == "text"
	case Document:
		return member != "id" && member != "meta"
	}

	return true
}

// Canonical returns a resource in a form.
func Canonical(resource *tree.Value, f Form) []byte {
	return appendResource(make([]byte, 0, len(resource.Raw)), resource, f)
}

// Content returns what a signature of resources signs: one resource in a form, or an
// array of several in their order.
func Content(resources []*tree.Value, f Form) []byte {
	if len(resources) == 1 {
		return Canonical(resources[0], f)
	}

	b := []byte{'['}
	for i, r := range resources {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendResource(b, r, f)
	}
	return append(b, ']')
}

func appendResource(b []byte, r *tree.Value, f Form) []byte {
	typ := r.Get("resourceType").Text()
	return appendObject(b, r, func(member string) bool {
		return f.covers(typ, member)
	})
}

// everyMember covers all members of what is inside a resource.
func everyMember(string) bool { return true }

func appendObject(b []byte, v *tree.Value, covers func(member string) bool) []byte {
	members := make([]*tree.Value, 0, len(v.Items))
	for i := range v.Items {
		if covers(v.Items[i].Name) {
			members = append(members, &v.Items[i])
		}
	}
	slices.SortFunc(members, func(x, y *tree.Value) int {
		return compareUTF16(x.Name, y.Name)
	})

	b = append(b, '{')
	for i, m := range members {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, m.Name), ':')
		b = appendValue(b, m)
	}
	return append(b, '}')
}

func appendValue(b []byte, v *tree.Value) []byte {
	switch v.Kind {
	case tree.Object:
		return appendObject(b, v, everyMember)
	case tree.String:
		return appendString(b, v.Text())
	case tree.Array:
		b = append(b, '[')
		for i := range v.Items {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendValue(b, &v.Items[i])
		}
		return append(b, ']')
	}

	return append(b, v.Raw...)
}

// appendString writes a string as RFC 8785 3.2.2.2 does.
func appendString(b []byte, s string) []byte {
	b, _ = jsontext.AppendQuote(b, s) // the tree has valid UTF-8 alone
	return b
}

// compareUTF16 compares as RFC 8785 3.2.3 does. Only for characters outside the basic
// plane is that another order than that of the bytes.
func compareUTF16(x, y string) int {
	if ascii(x) && ascii(y) {
		return strings.Compare(x, y)
	}
	return slices.Compare(utf16.Encode([]rune(x)), utf16.Encode([]rune(y)))
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
