// Package links finds the values of a resource that may lead to another
// resource, by the types that R4 declares for its elements, and rewrites them.
package links

import (
	"fhirdest.example/fhir/table"
	"fhirdest.example/fhir/tree"
)

// Kind is the kind of element that holds a link.
type Kind int

// The kinds of links.
const (
	Reference Kind = iota // Reference.reference
	URL                   // an element of type url, uri, oid, uuid or id that leads somewhere
	Identity              // an element of type uri that names a definition or a system of identifiers
	Narrative             // the XHTML of a narrative
)

// kinds lists the primitive types whose values a transaction rewrites (R4 http
// 3.1.0.11.2). Elements of type canonical are never rewritten.
var kinds = map[string]Kind{
	"uri":   URL,
	"url":   URL,
	"oid":   URL,
	"uuid":  URL,
	"id":    URL,
	"xhtml": Narrative,
}

// Each calls f with every value in a resource, and in the resources that it
// contains, that may hold a link. It stops at the first error and returns it.
// The entries of a Bundle are not visited: links in them are resolved within
// that Bundle (R4 bundle.html 2.36.4.1).
func Each(root *tree.Value, f func(Kind, *tree.Value) error) error {
	t := table.R4().Resource(root.Get("resourceType").Text())
	if t == nil {
		return nil
	}
	return each(t, root, f)
}

func each(t *table.Type, v *tree.Value, f func(Kind, *tree.Value) error) error {
	if v.Kind != tree.Object {
		return nil
	}

	for i := range v.Items {
		m := &v.Items[i]
		member, ok := t.Member(m.Name)
		if !ok {
			continue
		}

		if m.Kind != tree.Array {
			if err := one(t, member, m.Name, m, f); err != nil {
				return err
			}
			continue
		}

		for j := range m.Items {
			if err := one(t, member, m.Name, &m.Items[j], f); err != nil {
				return err
			}
		}
	}

	return nil
}

// one visits one value of a member.
func one(
	t *table.Type, member table.Member, name string, v *tree.Value, f func(Kind, *tree.Value) error,
) error {
	switch {
	case member.Shadow: // id and extensions of a primitive value
		return each(table.R4().Type("Element"), v, f)
	case member.Type == nil:
		return nil
	case member.Type.Name == "Resource":
		return Each(v, f)
	case member.Type.Of != nil:
		if member.Type.Of.Name == "Bundle.entry" {
			return nil
		}
		return each(member.Type.Of, v, f)

	case v.Kind != tree.String:
		return nil
	case t.Name == "Reference" && name == "reference":
		return f(Reference, v)
	}

	kind, ok := kinds[member.Type.Name]
	if !ok {
		return nil
	}

	if kind == URL && identifies(t, name) {
		kind = Identity
	}
	return f(kind, v)
}

// identifies reports whether an element names a definition, or a system of
// identifiers or codes, rather than leading to a resource: Extension.url, the
// url of a definition, and every system.
func identifies(t *table.Type, name string) bool {
	return name == "system" || name == "url" && (t.Name == "Extension" || t.Kind == table.Resource)
}
