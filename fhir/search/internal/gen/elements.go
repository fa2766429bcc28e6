package main

import (
	"strings"
)

// element is one element of a type: its types, and where its children stand.
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

type structure struct {
	Type, Derivation, Kind string
	Abstract               bool
	Snapshot               struct {
		Element []struct {
			Path, ContentReference string
			Type                   []struct {
				Code string
			}
		}
	}
}

func readElements(dir string) (elements, error) {
	e := elements{}
	for _, name := range []string{"profiles-types.json", "profiles-resources.json"} {
		all, err := readBundle[structure](dir, name, "StructureDefinition")
		if err != nil {
			return nil, err
		}
		for _, s := range all {
			if s.Derivation != "constraint" {
				e.add(s)
			}
		}
	}
	return e, nil
}

func (e elements) add(s structure) {
	if s.Kind == "resource" && !s.Abstract && s.Type != "SubscriptionStatus" { // R4B's, backported by the npm package
		e[concrete+s.Type] = element{}
	}
	for _, el := range s.Snapshot.Element {
		path, poly := strings.CutSuffix(el.Path, "[x]")
		x := element{poly: poly, ref: strings.TrimPrefix(el.ContentReference, "#")}
		for _, t := range el.Type {
			code := t.Code
			if strings.HasPrefix(code, "http://hl7.org/fhirpath/") {
				code = "id"
			}
			x.types = append(x.types, code)
		}
		e[path] = x
	}
}

// child finds the element name of a value of type typ that stands at path:
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
