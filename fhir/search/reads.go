package search

import (
	"slices"
	"strings"
)

// Reads reports whether a parameter is answered from an element of its type, or from
// what is inside or around it. The element is a path such as "address" or
// "name.family"; of a choice such as value[x], "value" is all of it.
func (p *Param) Reads(element string) bool {
	names := strings.Split(element, ".")
	for i := range p.paths {
		if overlap(names, p.paths[i].steps) {
			return true
		}
	}

	for i := range p.whole {
		if p.whole[i].reads(names) {
			return true
		}
	}

	return slices.ContainsFunc(p.union, func(one *Param) bool {
		return one.Reads(element)
	})
}

func (c *composite) reads(names []string) bool {
	for _, part := range c.parts {
		for _, end := range part.paths {
			if overlap(names, slices.Concat(c.base.steps, end.steps)) {
				return true
			}
		}
	}
	return false
}

// overlap reports whether one of two paths leads through the end of the other.
func overlap(names []string, steps []step) bool {
	for i, name := range names {
		if i == len(steps) {
			return true
		}
		rest, ok := strings.CutPrefix(steps[i].name, name)
		if !ok || rest != "" && (rest[0] < 'A' || rest[0] > 'Z') {
			return false
		}
	}
	return true
}
