package search

import (
	"fmt"
	"slices"
	"strings"

	"fhirdest.example/fhir/tree"
)

// maxRead bounds the resources that one search reads whole.
const maxRead = 20_000

// textProbes adds what has text beside a code that begins so (R4 search
// 3.1.1.4.10, :text). The index does not have that text.
func textProbes(c *Clause, p *Param, v string) error {
	text := fold(unescape(v))
	if text.spaced == "" {
		return unknown("%s is empty", p.Code)
	}

	c.verify(allOf(p), func(typ string, root *tree.Value, _ *container) bool {
		found := false
		for i := range p.paths {
			if pa := &p.paths[i]; typ == p.Type && !found {
				walk(root, pa.steps, func(v *tree.Value) {
					found = found || hasText(pa.leaf, v, text)
				})
			}
		}

		return found
	})

	return nil
}

// hasText reports whether the parameter looks at what may have text beside it.
func (p *Param) hasText() bool {
	return p.looksAt("CodeableConcept", "Coding", "Identifier")
}

// hasText reports whether a text beside a code begins so.
func hasText(leaf string, v *tree.Value, text folded) bool {
	is := func(v *tree.Value) bool {
		begins := func(s string) bool {
			return strings.HasPrefix(s, text.spaced) || strings.HasPrefix(s, text.joined)
		}
		return slices.ContainsFunc(fold(v.Literal()).forms(), begins)
	}

	switch leaf {
	case "CodeableConcept":
		codings := v.Get("coding").Each()
		return is(v.Get("text")) || slices.ContainsFunc(codings, func(c tree.Value) bool {
			return is(c.Get("display"))
		})

	case "Coding":
		return is(v.Get("display"))
	case "Identifier":
		return is(v.At("type", "text"))
	}

	return false
}

// divide returns the clauses as the index answers them, with those that may
// match for those that do, and the ones that resources must then be read for.
func divide(clauses []Clause) (index, read []Clause) {
	index = slices.Clone(clauses)
	for i := range index {
		c := &index[i]
		if len(c.maybe) > 0 {
			read = append(read, *c)
			c.probes = slices.Concat(c.probes, c.maybe)
		}
		c.maybe = nil
		c.test = nil
	}

	return index, read
}

// reading keeps the resources that match the clauses, reading those whose terms
// do not decide it.
func (f *Finder) reading(typ string, docs []uint64, clauses []Clause) []uint64 {
	if len(clauses) == 0 || f.err != nil {
		return docs
	}

	read := 0
	return slices.DeleteFunc(docs, func(doc uint64) bool {
		f.fail(f.ctx.Err())
		id, terms := f.terms(doc)
		var root *tree.Value
		var within *container

		for i := range clauses {
			c := &clauses[i]
			if f.err == nil && c.holds(id, terms) {
				continue
			}

			if root == nil {
				if read++; read > maxRead {
					f.fail(ErrTooCostly)
				}
				root = f.root(doc)
				within = &container{root: root}
			}

			if f.err != nil || !c.test(typ, root, within) {
				return true
			}
		}

		return false
	})
}

// root reads a resource.
func (f *Finder) root(doc uint64) *tree.Value {
	if f.err != nil {
		return nil
	}

	body, err := f.Index.Body(f.ctx, doc)
	if err != nil {
		f.fail(err)
		return nil
	}

	root, err := tree.ParseStored(body)
	if err != nil {
		f.fail(fmt.Errorf("%w: body of resource %d: %v", ErrDamaged, doc, err))
	}
	return root
}
