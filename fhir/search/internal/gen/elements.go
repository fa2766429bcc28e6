package main

import (
	"strings"

	"fhirdest.example/fhir/table"
)

// element is one element of a type: its types, and where its children are.
type element struct {
	types []string // FHIR types; several for a choice
	ref   string   // path whose children these are, for a content reference
	poly  bool     // a choice: its JSON member carries the type's name
}

// elements are all elements of all types by path ("Patient.contact.name").
type elements map[string]element

// concrete marks the path of a resource type that can be instantiated.
const concrete = "\x00resource "

// resources names the concrete resource types.
func (e elements) resources() []string {
	var all []string
	for path := range e {
		if name, ok := strings.CutPrefix(path, concrete); ok {
			all = append(all, name)
		}
	}
	return all
}

// readElements returns the elements of all resource types, and of all types that
// are in them, from the table.
func readElements(t *table.Table) elements {
	e := elements{}
	for _, name := range append([]string{"Resource", "DomainResource"}, t.Resources()...) {
		ty := t.Type(name)
		if ty.Kind == table.Resource {
			e[concrete+name] = element{}
		}
		e.add(ty)
	}

	return e
}

// add adds a type's elements, once.
func (e elements) add(t *table.Type) {
	for i := range t.Elements {
		name, poly := strings.CutSuffix(t.Elements[i].Name, "[x]")
		path := t.Name + "." + name
		if _, ok := e[path]; ok {
			continue
		}

		x := element{poly: poly}
		for _, r := range t.Elements[i].Types {
			typ := r.Name
			switch {
			case name == "id" && typ == "string":
				typ = "id"
			case typ == "SimpleQuantity": // a profile of Quantity
				typ = "Quantity"
			case r.Of != nil && r.Of.Kind == table.Backbone:
				typ = "BackboneElement"
				if r.Of.Name != path {
					x.ref = r.Of.Name
				}
			}

			x.types = append(x.types, typ)
		}

		e[path] = x
		for _, r := range t.Elements[i].Types {
			if r.Of != nil {
				e.add(r.Of)
			}
		}
	}
}

// child finds the element name of a value of type typ at path:
// backbone elements are looked up by path, datatypes by their own name.
func (e elements) child(at, name string) (path string, x element, ok bool) {
	if here := e[at]; here.ref != "" {
		at = here.ref
	}
	if x, ok = e[at+"."+name]; ok {
		return at + "." + name, x, true
	}

	for _, t := range e[at].types {
		if x, ok = e[t+"."+name]; ok {
			return t + "." + name, x, true
		}
	}

	return "", element{}, false
}
