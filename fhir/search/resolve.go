package search

import (
	"fmt"
	"strings"

	"fhirdest.example/fhir/tree"
)

// resolveAll replaces chains by what they lead to, within what the reader may
// search at each link.
func (f *Finder) resolveAll(clauses []Clause) []Clause {
	out := make([]Clause, len(clauses))
	for i := range clauses {
		out[i] = f.resolve(clauses[i])
	}
	return out
}

func (f *Finder) resolve(c Clause) Clause {
	switch {
	case f.err != nil:
		return Clause{}
	case c.chain != nil:
		return f.resolveChain(c.chain)
	case c.has != nil:
		return f.resolveHas(c.has)
	}

	for _, b := range c.bare {
		f.oneType(b)
	}

	return c
}

// allowed returns the types that the reader may search. If there are none, the
// search fails, rather than find nothing as if there were nothing.
func (f *Finder) allowed(types ...string) map[string]bool {
	may := map[string]bool{}
	for _, typ := range types {
		if !f.Search(typ).Empty() {
			may[typ] = true
		}
	}

	if len(may) == 0 {
		f.fail(&Error{
			Code: Forbidden,
			Detail: fmt.Sprintf("This search leads through %s, which the token's scopes do not allow to search.",
				strings.Join(types, ", ")),
		})
	}

	return may
}

// resolveChain finds the resources at the chain's end and asks for references
// to them; and for what has such a resource in it.
func (f *Finder) resolveChain(links []link) Clause {
	var types []string
	for _, l := range links {
		types = append(types, l.typ)
	}

	may := f.allowed(types...)

	out := Clause{}
	to := valueSet{links[0].param, map[string]struct{}{}}
	for _, l := range links {
		if !may[l.typ] || f.err != nil {
			continue
		}

		then := f.resolve(l.then)
		f.verifyInline(&out, l, then)
		if l.param.looksAt("Resource") {
			continue // the resource itself is in it
		}

		canonical := l.param.canonicalOf(l.typ)
		docs := f.matching(l.typ, []Clause{then}, f.Search(l.typ))
		f.eachTerms(docs, func(_ uint64, id string, terms Terms) bool {
			to.add(id, sep, l.typ)
			canonical.each(terms, func(url, version string) {
				to.add(url, sep)
				if version != "" {
					to.add(url, sep, sep, version)
				}
			})
			return fitsSet(f, len(to.values))
		})
		if f.err != nil {
			return out
		}
	}

	out.sets = []valueSet{to}
	return out
}

// hasInline reports whether a resource has one in it to which a link could lead.
func hasInline(f *Finder, l link) (any bool) {
	pr := l.param.beginning(inline, l.typ, sep)
	f.scan(pr.from, pr.to, func([]byte, uint64) bool {
		any = true
		return false
	})
	return any
}

// verifyInline adds the resources that have one in them that matches.
func (f *Finder) verifyInline(c *Clause, l link, then Clause) {
	if hasInline(f, l) {
		pr := l.param.beginning(inline, l.typ, sep)
		pr.exact = true
		c.maybe = append(c.maybe, pr)
	}

	c.either(l.inlineTest(then, f.goesOn)) // in any case, as it may be asked of what is in another resource
}

// inlineTest is whether a resource that is contained in the one searched, or is
// the first entry of a Bundle, matches a resolved clause (R4 search 3.1.1.5.5:
// "A chained condition will be evaluated inside contained resources"). What is
// contained may refer to all the others, so that a chain of a few links leads to
// millions: goesOn is asked before each.
func (l link) inlineTest(then Clause, goesOn func() bool) test {
	return func(typ string, root *tree.Value, within *container) bool {
		if typ != l.param.Type {
			return false
		}

		found := false
		look := func(v *tree.Value) {
			found = found || goesOn() && l.matchesInline(then, v, within)
		}

		for i := range l.param.paths {
			pa := &l.param.paths[i]
			walk(root, pa.steps, func(v *tree.Value) {
				ref := v.Literal()
				if pa.leaf == "Reference" {
					ref = v.Get("reference").Literal()
				}

				switch id, local := strings.CutPrefix(ref, "#"); {
				case pa.leaf == "Resource":
					look(v)
				case local:
					look(within.find(id))
				}
			})
		}

		return found
	}
}

func (l link) matchesInline(then Clause, v *tree.Value, within *container) bool {
	if v.Get("resourceType").Text() != l.typ {
		return false
	}

	if l.param.looksAt("Resource") {
		within = &container{root: v}
	}

	id := v.Get("id").Text()
	terms, err := extract(l.bases, l.typ, v, within, Stamp{ID: id}, Marks{})
	if err != nil {
		return false
	}

	return then.holds(id, terms) || then.test != nil && then.test(l.typ, v, within)
}

// canonicalOf returns the parameter that has the canonical URLs of resources of
// a type, if this one refers to them by those; else nil.
func (p *Param) canonicalOf(typ string) *Param {
	if !p.looksAt("canonical", "uri") {
		return nil
	}
	return Lookup(typ, "url")
}

// each calls f with the canonical URLs in a resource's terms, and its version
// ("" for none). nil has none.
func (p *Param) each(t Terms, f func(url, version string)) {
	if p == nil {
		return
	}

	url := ""
	t.of(p.id, func(value []byte) bool {
		at, version, versioned := strings.Cut(string(value), sep)
		switch {
		case versioned:
			f(at, version)
			url = ""
		default:
			if url != "" {
				f(url, "")
			}
			url = at
		}

		return true
	})

	if url != "" {
		f(url, "")
	}
}

// resolveHas finds the resources that refer to one of the type, and asks for
// those that they refer to.
func (f *Finder) resolveHas(h *has) Clause {
	f.allowed(h.param.Type)
	out := Clause{ids: map[string]struct{}{}}
	canonical := h.param.canonicalOf(h.typ)
	to := valueSet{canonical, map[string]struct{}{}}

	docs := f.matching(h.param.Type, f.resolveAll([]Clause{h.then}), f.Search(h.param.Type))
	f.eachTerms(docs, func(_ uint64, _ string, terms Terms) bool {
		terms.of(h.param.id, func(value []byte) bool {
			switch id, typ, version := splitRef(value); {
			case typ == h.typ:
				out.ids[id] = struct{}{}
			case typ != "" || canonical == nil:
			case version == "":
				to.add(id)
			default:
				to.add(id, sep, version)
			}

			return true
		})
		return fitsSet(f, len(out.ids)+len(to.values))
	})
	if f.err != nil {
		return out
	}

	if canonical != nil {
		out.sets = []valueSet{to}
	}
	return out
}

// fitsSet reports whether the search may go on with so many resources at the end of a
// link.
func fitsSet(f *Finder, n int) bool {
	if n > maxSet {
		f.fail(ErrTooCostly)
	}
	return f.step()
}

// oneType fails the search if an id without a type is that of resources of
// several types that are referred to and that the reader may find: "Servers
// SHOULD fail a search where the logical id in a reference refers to more than
// one matching resource across different types" (R4 search 3.1.1.4.12).
func (f *Finder) oneType(b bare) {
	types := f.typesOf(b)
	if len(types) < 2 {
		return
	}

	var found []string
	for _, typ := range types {
		doc, ok := f.find(typ, b.id)
		if !ok {
			continue
		}
		if id, terms := f.terms(doc); f.Search(typ).Passes(id, terms) && f.visible(typ, doc) {
			found = append(found, typ)
		}
	}

	if len(found) > 1 {
		f.fail(&Error{
			Code: "multiple-matches",
			Detail: fmt.Sprintf("%[1]s=%[2]s is the id of resources of several types: write %[3]s/%[2]s or %[4]s/%[2]s",
				b.param.Code, b.id, found[0], found[1]),
		})
	}
}

// typesOf returns the types that the index has references to under an id.
func (f *Finder) typesOf(b bare) (types []string) {
	pr := b.param.beginning(b.id, sep)
	for from := pr.from; f.err == nil; {
		var typ string
		f.scan(from, pr.to, func(term []byte, _ uint64) bool {
			_, typ, _ = splitRef(term[2:])
			return false
		})
		if typ == "" {
			break
		}

		types = append(types, typ)
		from = after(append(b.param.key(), b.id+sep+typ...))
	}

	return types
}

// splitRef splits the value of a reference to a resource of this server (id,
// type and, if it names one, version), or a URL (in the place of the id) and
// its version. Any other gives nothing.
func splitRef(value []byte) (id, typ, version string) {
	if len(value) == 0 || value[0] < ' ' {
		return "", "", ""
	}

	parts := [3]string{}
	n := 0
	from := 0
	for i, b := range value {
		if b == sep[0] && n < 2 {
			parts[n], from = string(value[from:i]), i+1
			n++
		}
	}

	parts[n] = string(value[from:])

	return parts[0], parts[1], parts[2]
}
