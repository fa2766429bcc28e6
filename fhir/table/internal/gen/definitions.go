package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

type bundle[T any] struct {
	Entry []struct{ Resource T }
}

// definitions is what is read of each file.
type definitions struct {
	types, resources bundle[structure]
	params           bundle[searchParameter]
	valueSets, v3    bundle[terminology]
	patients         compartment
	others           bundle[json.RawMessage] // all in the file of resources, for its compartments
	used             map[string]bool         // value sets with a required binding
}

type compartment struct {
	ResourceType, Code string
	Resource           []struct {
		Code  string
		Param []string
	}
}

type structure struct {
	ResourceType, ID, Kind, Derivation string
	Abstract                           bool
	Snapshot, Differential             struct{ Element []element }
}

type element struct {
	ID, Path, Max    string
	Base             struct{ Path string }
	Min              int
	ContentReference string
	IsSummary        bool
	IsModifier       bool
	Type             []struct {
		Code                   string
		Profile, TargetProfile []string
		Extension              []struct{ URL, ValueURL string }
	}
	Binding struct{ Strength, ValueSet string }
}

type searchParameter struct {
	Code, Type, Expression, URL string
	Base, Target                []string
	Component                   []struct{ Definition, Expression string }
}

// writeTypes writes one line for each type and each of its elements.
func (d *definitions) writeTypes(out io.Writer) {
	d.used = map[string]bool{}
	for _, e := range slices.Concat(d.types.Entry, d.resources.Entry) {
		s := e.Resource
		if s.ID == "SubscriptionStatus" { // not of R4: its publisher's backport from R4B
			continue
		}

		simple := s.ID == "SimpleQuantity" || s.ID == "MoneyQuantity"
		if s.ResourceType != "StructureDefinition" || s.Kind == "primitive-type" ||
			s.Derivation == "constraint" &&
				!simple {
			continue
		}
		d.writeStructure(out, s)
	}
}

// writeStructure returns each element that has children a type of its own,
// named by its path.
func (d *definitions) writeStructure(out io.Writer, s structure) {
	kind := s.Kind
	if s.Abstract {
		kind = "abstract"
	}
	children := map[string][]element{}
	var owners []string

	for _, e := range s.hl7() {
		parent := e.Path[:strings.LastIndexByte(e.Path, '.')]
		if children[parent] == nil {
			owners = append(owners, parent)
		}
		children[parent] = append(children[parent], e)
	}

	for i, owner := range owners {
		name := owner
		if i == 0 {
			name = s.ID
		} else {
			kind = "backbone"
		}

		fmt.Fprintf(out, "type\t%s\t%s\n", name, kind)
		for _, e := range children[owner] {
			d.writeElement(out, e, children[e.Path] != nil)
		}
	}
}

// hl7 lists the elements that HL7 gave a type. The package's publisher has put
// elements of its own and of R5 into some snapshots and left others out;
// HL7's differential is as it was, so its word counts.
func (s structure) hl7() []element {
	stated := map[string]element{}
	listed := map[string]bool{}
	for _, e := range s.Differential.Element {
		stated[e.Path] = e
	}

	delete(stated, "ResearchStudy.studyDesign") // of R5, put into the differential as well
	var all []element

	for _, e := range s.Snapshot.Element[1:] {
		listed[e.Path] = true
		hl7, found := stated[e.Path]
		_, known := stated[e.Path[:strings.LastIndexByte(e.Path, '.')]]
		switch {
		case s.Derivation == "constraint":
			all = append(all, e)
		case found:
			if strings.HasSuffix(hl7.Binding.ValueSet, "|5.0.0") { // ResearchStudy.status, by its publisher
				hl7.Binding = e.Binding
			}
			all = append(all, hl7)

		case e.Base.Path != e.Path && known: // inherited, by what is HL7's
			all = append(all, e)
		}
	}

	for i, e := range s.Differential.Element {
		if i > 0 && !listed[e.Path] {
			all = append(all, e)
		}
	}

	return all
}

func (d *definitions) writeElement(out io.Writer, e element, backbone bool) {
	if e.Max == "0" {
		return
	}

	limit := e.Max
	if limit == "*" {
		limit = "0"
	}
	flags := 0
	if e.IsSummary {
		flags |= 1
	}

	if e.IsModifier {
		flags |= 2
	}
	fmt.Fprintf(out, "\t%s\t%d\t%s\t%s\t%d\t%s\n", e.Path[strings.LastIndexByte(e.Path, '.')+1:],
		e.Min, limit, typesOf(e, backbone), flags, d.binding(e))
}

// typesOf lists an element's types: "@path" for backbone elements, and the
// targets of references in brackets.
func typesOf(e element, backbone bool) string {
	if backbone {
		return "@" + e.Path
	}
	if e.ContentReference != "" {
		return "@" + e.ContentReference[strings.IndexByte(e.ContentReference, '#')+1:]
	}

	var names []string
	for _, t := range e.Type {
		name := strings.TrimPrefix(t.Code, "http://hl7.org/fhirpath/")
		for _, x := range t.Extension {
			if strings.HasSuffix(x.URL, "structuredefinition-fhir-type") && name == "System.String" {
				name = x.ValueURL
			}
		}

		if len(t.Profile) == 1 && name == "Quantity" {
			name = last(t.Profile[0])
		}
		if targets := lastAll(t.TargetProfile); name == "Reference" && len(targets) > 0 &&
			!slices.Contains(targets, "Resource") {
			name += "(" + strings.Join(targets, "|") + ")"
		}
		names = append(names, name)
	}

	return strings.Join(names, ",")
}

func last(url string) string {
	return url[strings.LastIndexByte(url, '/')+1:]
}

func lastAll(urls []string) []string {
	var names []string
	for _, u := range urls {
		names = append(names, last(u))
	}
	return names
}

// notR4 are parameters that the package's publisher added under HL7's name.
var notR4 = []string{
	"http://hl7.org/fhir/SearchParameter/DetectedIssue-status",
	"http://hl7.org/fhir/SearchParameter/DeviceDefinition-classification",
	"http://hl7.org/fhir/SearchParameter/ServiceRequest-order-detail",
}

// targets are those that HL7 gave a parameter, where the publisher changed them.
var targets = map[string][]string{
	"http://hl7.org/fhir/SearchParameter/MeasureReport-subject": {
		"Practitioner", "Group", "Device", "Patient", "PractitionerRole", "RelatedPerson", "Location",
	},
}

// writeParams writes every search parameter: code, type, bases, targets,
// expression, canonical URL, and of composites the components.
func (d *definitions) writeParams(out io.Writer) {
	for _, e := range d.params.Entry {
		p := e.Resource
		if slices.Contains(notR4, p.URL) {
			continue
		}

		if hl7 := targets[p.URL]; hl7 != nil {
			p.Target = hl7
		}
		var parts []string

		for _, c := range p.Component {
			parts = append(parts, c.Definition+" "+clean(c.Expression))
		}

		fmt.Fprintf(out, "param\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", p.Code, p.Type, strings.Join(p.Base, ","),
			strings.Join(p.Target, ","), clean(p.Expression), p.URL, strings.Join(parts, ";"))
	}
}

// writeCompartments writes by which parameters a resource belongs to a patient,
// an encounter and so on. "{def}" means that each is in its own: so are all.
func (d *definitions) writeCompartments(out io.Writer) error {
	d.patients.write(out)
	for _, e := range d.others.Entry {
		var kind struct{ ResourceType, Code string }
		if err := json.Unmarshal(e.Resource, &kind); err != nil {
			return err
		}
		if kind.ResourceType != "CompartmentDefinition" || kind.Code == d.patients.Code {
			continue
		}

		var c compartment
		if err := json.Unmarshal(e.Resource, &c); err != nil {
			return err
		}
		c.write(out)
	}

	return nil
}

func (c *compartment) write(out io.Writer) {
	for _, r := range c.Resource {
		params := slices.DeleteFunc(r.Param, func(p string) bool {
			return p == "{def}"
		})
		if len(params) > 0 {
			fmt.Fprintf(
				out,
				"compartment\t%s\t%s\t%s\n",
				c.Code,
				r.Code,
				strings.Join(params, ","),
			)
		}
	}
}
