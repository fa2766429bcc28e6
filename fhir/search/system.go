package search

import (
	"fhirdest.example/fhir/table"
)

// booleans is the system of true and false (R4 search 3.1.1.4.10).
const booleans = "http://terminology.hl7.org/CodeSystem/special-values"

// fits reports whether codes that a parameter looks at, and that have no system
// of their own, may be of a system: their elements' bindings list its codes, or R4 lists
// none.
func (p *Param) fits(system string) bool {
	for i := range p.paths {
		pa := &p.paths[i]
		switch {
		case pa.leaf == "boolean" || pa.notFalse:
			if system == booleans {
				return true
			}
		case pa.leaf == "code":
			if codes := bound(p.Type, pa.steps); codes == nil || codes.HasSystem(system) {
				return true
			}
		}
	}

	return false
}

// bound returns the codes of the element that steps lead to; nil if R4 does not
// list them.
func bound(typ string, steps []step) *table.CodeSet {
	t := table.R4().Resource(typ)
	var codes *table.CodeSet
	for _, s := range steps {
		if t == nil {
			return nil
		}

		m, ok := t.Member(s.name)
		if !ok {
			return nil
		}
		t = m.Type.Of
		codes = m.Element.Codes
	}

	return codes
}
