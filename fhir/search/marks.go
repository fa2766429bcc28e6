package search

import "fhirdest.example/fhir/tree"

// accessParam is the parameter under which marks are indexed. No query can name it.
const accessParam = "_access"

// hidden reports whether a parameter is the index's own: no query can name it.
func hidden(code string) bool {
	return code == "_type" || code == accessParam
}

// Marks are what a policy adds to the terms of a resource when it is indexed. An
// index that was made by another policy must be made anew.
type Marks struct {
	// Values are what access is decided by; see Unmarked and Marked.
	Values []string
	// Labels are codes that _security finds, besides those that the resource has.
	Labels []Coding
}

// Coding is a code of a system.
type Coding struct {
	System string `json:"system,omitzero"`
	Code   string `json:"code"`
}

// Marker returns the marks of a resource of a type.
type Marker func(typ string, root *tree.Value) Marks

// Unmarked is the clause by which a resource of typ has none of the marks from one on,
// in the order of their bytes, that hides reports. hides must always answer the same.
func Unmarked(typ, from string, hides func(mark string) bool) Clause {
	p := Lookup(typ, accessParam)
	marks := allOf(p)
	marks.from = append(p.key(), from...)
	marks.keep = func(value []byte) bool {
		return hides(string(value))
	}

	return Clause{
		probes: []probe{marks},
		not:    true,
		marks:  true,
	}
}

// Marked calls f with each mark of a resource of typ, by its terms. They are the first,
// since no code of a parameter is before accessParam.
func Marked(typ string, t Terms, f func(mark string)) {
	t.Each(func(term []byte) bool {
		p := paramOf(term)
		if p == nil || p.Type != typ || p.Code > accessParam {
			return false
		}
		if p.Code == accessParam && len(term) > minTerm {
			f(string(term[2:]))
		}
		return true
	})
}

// Marks adds the marks of a resource.
func (b *Builder) Marks(values []string) {
	for _, v := range values {
		b.add(accessParam, v)
	}
}

// mark indexes the marks of a resource.
func (c *collector) mark() {
	for _, v := range c.marks.Values {
		c.add(v)
	}
}

// labelled indexes the codes that _security finds besides those in the resource.
func (c *collector) labelled() {
	for _, l := range c.marks.Labels {
		c.add(whole(l.Code), sep, whole(l.System))
	}
}
