package search

import (
	"bytes"
	"slices"
	"strings"

	"fhirdest.example/fhir/tree"
)

// composite is a place where the two parts of a composite parameter are
// together: an element, and the parts under it (R4 search 3.1.1.4.12).
type composite struct {
	text  string
	base  path
	parts [2]part
}

type part struct {
	kind  Kind
	paths []path
}

// parseComposites reads places divided by ";": the element, and each part as
// its kind, "=", and its paths divided by ",".
func parseComposites(text string) []composite {
	var all []composite
	for _, s := range strings.Split(text, ";") {
		f := strings.Fields(s)
		c := composite{
			text: s,
			base: parsePath(f[0]),
		}
		for i := range c.parts {
			kind, paths, _ := strings.Cut(f[i+1], "=")
			c.parts[i] = part{Kind(kind), parsePaths(strings.ReplaceAll(paths, ",", ";"))}
		}

		all = append(all, c)
	}

	return all
}

// unite finds the parameters that a composite of several places is together
// (combo-code-value-quantity is code-value-quantity and
// component-code-value-quantity): it asks for theirs and has no terms itself.
func (p *Param) unite(of map[string]*Param) {
	if len(p.whole) < 2 {
		return
	}

	for _, place := range p.whole {
		for _, code := range sortedCodes(of) {
			if other := of[code]; len(other.whole) == 1 && other.whole[0].text == place.text {
				p.union = append(p.union, other)
				break
			}
		}
	}

	if len(p.union) < len(p.whole) {
		p.union = nil
	}
}

// composite indexes each pair of values that are together.
func (c *collector) composite(p *Param, root *tree.Value) {
	if p.union != nil {
		return
	}

	for i := range p.whole {
		place := &p.whole[i]
		walk(root, place.base.steps, func(v *tree.Value) {
			seconds := c.part(&place.parts[1], v)
			if len(seconds) == 0 {
				return
			}

			for _, first := range c.part(&place.parts[0], v) {
				for _, second := range seconds {
					c.add(string(first[2:]), joint, string(second[2:]))
				}
			}
		})
	}
}

// part returns the terms of one part under an element.
func (c *collector) part(of *part, v *tree.Value) [][]byte {
	one := collector{
		bases:     c.bases,
		container: c.container,
		id:        c.id,
		most:      maxTerms,
		arena:     c.arena,
	}

	p := &Param{Kind: of.kind}
	for i := range of.paths {
		pa := &of.paths[i]
		walk(v, pa.steps, func(leaf *tree.Value) {
			one.leaf(p, pa, leaf)
		})
	}

	c.arena = one.arena
	return one.terms
}

// compositeProbes reads token$value.
func (in *parsing) compositeProbes(c *Clause, p *Param, modifier, v string) error {
	if modifier != "" {
		return noModifier(p.Code, modifier)
	}

	parts := splitEscaped(v, '$')
	if len(parts) != 2 || parts[0] == "" || parts[1] == "" {
		return bad("%s: %s is not two values with $ between", p.Code, printable(v))
	}

	for i := range p.whole {
		var of [2]Clause
		for j := range of {
			one := &Param{
				Type:  p.Type,
				Code:  p.Code,
				Kind:  p.whole[i].parts[j].kind,
				paths: p.whole[i].parts[j].paths,
				id:    p.id,
			}
			if err := in.alternative(&of[j], one, "", parts[j]); err != nil {
				return err
			}
			if of[j].test != nil {
				return bad("%s: %s is too long", p.Code, printable(parts[j]))
			}
		}

		for _, first := range of[0].probes {
			c.probes = append(c.probes, p.joined(first, of[1].probes))
		}
	}

	return nil
}

// joined is the probe of a token's probe and, after the joint, any of others.
func (p *Param) joined(first probe, others []probe) probe {
	from := first.from
	if first.single() {
		from = append(from[:len(from)-1:len(from)-1], joint...)
	}
	pr := prefixed(from)
	pr.exact = first.exact
	pr.keep = func(value []byte) bool {
		a, b, ok := bytes.Cut(value, []byte(joint))
		term := p.key()
		if !ok || !first.within(append(term, a...)) {
			return false
		}

		term = append(term, b...)
		return slices.ContainsFunc(others, func(o probe) bool {
			return o.within(term)
		})
	}

	return pr
}
