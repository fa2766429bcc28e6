// Package table holds the definitions of FHIR R4 (4.0.1) as data: every type
// with its elements, the codes of required bindings, every search parameter,
// and the compartments. HL7 publishes them under CC0; the checked-in
// file r4.txt.gz is made from the npm package that its first line names, by
// "go generate". What is got from here is shared and must not be changed.
//
// Where that package differs from HL7's definitions, the generator follows HL7,
// and a second package's copy checks every element. Three differences remain:
// clinical-patient and what shares its definition lead to Patient alone, as
// their expressions do; the patient compartment has Encounter by subject instead
// of patient, which is the same; and it has Task, by patient and focus, which
// HL7's does not have.
package table

//go:generate go run ./internal/gen r4.txt.gz

import (
	_ "embed"
	"sync"
)

//go:embed r4.txt.gz
var packed []byte

// R4 returns the table. The first call unpacks it (some milliseconds).
var R4 = sync.OnceValue(func() *Table {
	return mustLoad(packed)
})

// Table is all definitions of one FHIR version.
type Table struct {
	Origin string   // where the definitions come from
	Params []*Param // every search parameter, in HL7's order
	// by type of the compartment (Patient, ...) and resource type, the parameters that place a resource there
	Compartments map[string]map[string][]string
	types        map[string]*Type
	sets         map[string]*CodeSet
	byType       map[string][]*Param
	resources    []string
}

// Type returns a type by its name ("Patient", "HumanName") or a backbone
// element by its path ("Patient.contact"); nil when there is none.
func (t *Table) Type(name string) *Type {
	return t.types[name]
}

// Resource returns a resource type that can be stored by itself; nil for others and
// for the abstract Resource and DomainResource.
func (t *Table) Resource(name string) *Type {
	if ty := t.types[name]; ty != nil && ty.Kind == Resource {
		return ty
	}
	return nil
}

// Resources lists the names of all resource types, in alphabetical order.
func (t *Table) Resources() []string { return t.resources }

// ParamsOf lists the search parameters of a resource type, those that all
// resources have included.
func (t *Table) ParamsOf(resource string) []*Param {
	return t.byType[resource]
}

// Param returns one search parameter of a resource type; nil when it has none
// of that code.
func (t *Table) Param(resource, code string) *Param {
	for _, p := range t.byType[resource] {
		if p.Code == code {
			return p
		}
	}
	return nil
}

// Kind is what a Type is used for.
type Kind string

// The kinds of types.
const (
	Resource Kind = "resource"
	Complex  Kind = "complex-type"
	Backbone Kind = "backbone" // an element with children of its own
	Abstract Kind = "abstract" // Element, BackboneElement, Resource, DomainResource
)

// Type is a resource, a data type, or a backbone element.
type Type struct {
	Name     string
	Kind     Kind
	Elements []Element // in the order of the specification
	members  map[string]Member
}

// Member returns what a JSON member's name means: an element, with one of
// its types chosen, or ("_birthDate") the id and extensions beside it.
func (t *Type) Member(name string) (Member, bool) {
	m, ok := t.members[name]
	return m, ok
}

// Attribute reports whether XML writes an element of the type as an attribute:
// the id of all but resources, and the url of an extension (FHIR R4, xml.html
// 2.6.1). Such an element has no id and no extensions of its own.
func (t *Type) Attribute(e *Element) bool {
	return e.Name == "id" && t.Kind != Resource || e.Name == "url" && t.Name == "Extension"
}

// Member is what one JSON member's name means.
type Member struct {
	Index   int      // place of its element in Elements
	Element *Element // never nil
	Type    *TypeRef // the type that the name chooses
	Shadow  bool     // the name began with "_"
}

// Element is one child of a type.
type Element struct {
	Name     string // "value[x]" for a choice
	Min      int
	Max      int // 0 for many
	Types    []TypeRef
	Summary  bool     // belongs to _summary=true
	Modifier bool     // may change the meaning of its parent
	Codes    *CodeSet // codes of a required binding; nil when not bound, or not listable
}

// Many reports whether JSON writes the element as an array.
func (e *Element) Many() bool { return e.Max != 1 }

// Choice reports whether the element is one of several types, its JSON name
// ending with the type's.
func (e *Element) Choice() bool {
	return len(e.Name) > 3 && e.Name[len(e.Name)-3:] == "[x]"
}

// TypeRef is one type that an element may have.
type TypeRef struct {
	Name    string   // "string", "HumanName", "@Patient.contact", "Resource"
	Of      *Type    // nil for primitive types and for Resource
	Targets []string // of a Reference: the types that it may lead to; nil for any
}

// Primitive reports whether JSON writes the type as a string, number or boolean.
func (r *TypeRef) Primitive() bool {
	return r.Of == nil && r.Name != "Resource"
}

// CodeSet is the codes that a required binding allows.
type CodeSet struct {
	Name    string              // last part of the value set's URL
	systems map[string][]string // codes by system
	codes   map[string]bool
}

// Has reports whether an element of type code may hold it.
func (s *CodeSet) Has(code string) bool {
	return s.codes[code]
}

// HasSystem reports whether any code of the set is of that system.
func (s *CodeSet) HasSystem(system string) bool {
	return s.systems[system] != nil
}

// HasIn reports whether the set holds a code of that system.
func (s *CodeSet) HasIn(system, code string) bool {
	for _, c := range s.systems[system] {
		if c == code {
			return true
		}
	}
	return false
}

// Param is one search parameter.
type Param struct {
	Code       string
	Type       string   // number, date, string, token, reference, composite, quantity, uri, special
	Base       []string // resource types that have it; Resource or DomainResource for all
	Target     []string // of a reference: the types that it may lead to
	Expression string   // FHIRPath; "" for those that no element answers
	URL        string
	Components []Component // of a composite
}

// Component is one part of a composite parameter.
type Component struct {
	Definition string // URL of the parameter that it is
	Expression string // FHIRPath, from what the composite's Expression selects
}
