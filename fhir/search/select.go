package search

import (
	"strconv"

	"fhirdest.example/fhir/tree"
)

// Select returns the elements that a parameter indexes, as they are in the
// resource; for a parameter that asks whether something is there, the answer.
// It lets the extraction be held against FHIRPath.
func (p *Param) Select(root *tree.Value) []string {
	var all []string
	asks := false
	present := false
	for i := range p.paths {
		pa := &p.paths[i]
		asks = asks || pa.notFalse
		walk(root, pa.steps, func(v *tree.Value) {
			switch {
			case pa.notFalse:
				present = present || v.Kind != tree.False
			case pa.target == "" || pa.leads(v):
				all = append(all, v.Raw)
			}
		})
	}

	if asks {
		return []string{strconv.FormatBool(present)}
	}
	return all
}

// leads reports whether a Reference is to the path's target.
func (p *path) leads(v *tree.Value) bool {
	ref := v.Get("reference").Literal()
	if r := Bases(nil).ParseRef(ref); r.Type != "" {
		return r.Type == p.target
	}
	return foreignType(ref) == p.target || v.Get("type").Literal() == p.target
}
