package search

import (
	"fmt"
	"slices"
	"strings"

	"fhirdest.example/fhir/tree"
)

// maxRead bounds the resources that one search reads whole.
const maxRead = 20_000

// said asks for text that stands beside a code (R4 search 3.1.1.4.10, :text).
// The index does not have it: what satisfies all else is read.
type said struct {
	param *Param
	text  string // folded
}

func saidTest(c *Clause, p *Param, v string) error {
	s := said{p, fold(unescape(v))}
	if s.text == "" {
		return unknown("%s is empty", p.Code)
	}
	c.said = append(c.said, s)
	return nil
}

// speaks reports whether the parameter looks at what may have text beside it.
func (p *Param) speaks() bool {
	return slices.ContainsFunc(p.paths, func(pa path) bool {
		return pa.leaf == "CodeableConcept" || pa.leaf == "Coding" || pa.leaf == "Identifier"
	})
}

// by splits clauses into those that the index answers and those that bodies do.
func by(clauses []Clause) (index, body []Clause) {
	if !slices.ContainsFunc(clauses, func(c Clause) bool { return c.said != nil }) {
		return clauses, nil
	}

	for _, c := range clauses {
		if c.said != nil {
			body = append(body, c)
		} else {
			index = append(index, c)
		}
	}

	return index, body
}

// reading keeps the resources whose bodies satisfy the clauses.
func (f *Finder) reading(typ string, docs []uint64, clauses []Clause) []uint64 {
	if len(clauses) == 0 || f.err != nil {
		return docs
	}
	if len(docs) > maxRead {
		f.err = ErrTooCostly
		return nil
	}

	return slices.DeleteFunc(docs, func(doc uint64) bool {
		f.fail(f.ctx.Err())
		if f.err != nil {
			return true
		}

		body, err := f.Index.Body(f.ctx, doc)
		if err != nil {
			f.fail(err)
			return true
		}
		root, err := tree.Parse(body)
		if err != nil {
			f.fail(fmt.Errorf("%w: body of resource %d: %v", ErrDamaged, doc, err))
		}
		return err != nil || slices.ContainsFunc(clauses, func(c Clause) bool { return !c.heard(typ, root) })
	})
}

// heard reports whether a resource has any of the texts.
func (c *Clause) heard(typ string, root *tree.Value) bool {
	found := false
	for i := range c.said {
		s := &c.said[i]
		for j := range s.param.paths {
			pa := &s.param.paths[j]
			if s.param.Type != typ || found {
				break
			}
			walk(root, pa.steps, func(v *tree.Value) { found = found || begins(pa.leaf, v, s.text) })
		}
	}

	return found
}

// begins reports whether a text beside a code begins so.
func begins(leaf string, v *tree.Value, text string) bool {
	is := func(v *tree.Value) bool { return strings.HasPrefix(fold(v.Literal()), text) }
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
