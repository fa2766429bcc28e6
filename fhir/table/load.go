package table

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// mustLoad unpacks the file that is part of the program: that it cannot be
// read is a fault of the build, which the package's tests find.
func mustLoad(packed []byte) *Table {
	t, err := load(packed)
	if err != nil {
		panic("table: " + err.Error())
	}
	return t
}

// load reads the lines of the table. Fields are separated by tabs, the first
// is what a line is: origin, type, "" (an element of the type above), codes,
// param, compartment.
func load(packed []byte) (*Table, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}

	l := loader{t: &Table{
		Compartments: map[string]map[string][]string{}, types: map[string]*Type{},
		sets: map[string]*CodeSet{}, byType: map[string][]*Param{},
	}}
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 1<<20)

	for lines.Scan() {
		if err := l.line(strings.Split(lines.Text(), "\t")); err != nil {
			return nil, fmt.Errorf("%q: %w", lines.Text(), err)
		}
	}

	if err := lines.Err(); err != nil {
		return nil, err
	}
	return l.t, l.link()
}

type loader struct {
	t    *Table
	last *Type
}

// fields is how many each kind of line has.
var fields = map[string]int{
	"origin":      2,
	"type":        3,
	"":            7,
	"codes":       4,
	"param":       8,
	"compartment": 4,
}

func (l *loader) line(f []string) error {
	if len(f) != fields[f[0]] {
		return fmt.Errorf("%d fields", len(f))
	}

	switch f[0] {
	case "origin":
		l.t.Origin = f[1]
	case "type":
		l.last = &Type{
			Name: f[1],
			Kind: Kind(f[2]),
		}
		l.t.types[f[1]] = l.last

	case "":
		return l.element(f[1:])
	case "codes":
		s := l.set(f[1])
		s.systems[f[2]] = append(s.systems[f[2]], strings.Split(f[3], " ")...)

	case "param":
		l.param(f[1:])
	case "compartment":
		if l.t.Compartments[f[1]] == nil {
			l.t.Compartments[f[1]] = map[string][]string{}
		}
		l.t.Compartments[f[1]][f[2]] = list(f[3])
	}

	return nil
}

// list splits at commas; nil for nothing.
func list(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

func (l *loader) set(name string) *CodeSet {
	s := l.t.sets[name]
	if s == nil {
		s = &CodeSet{
			Name:    name,
			systems: map[string][]string{},
			codes:   map[string]bool{},
		}
		l.t.sets[name] = s
	}

	return s
}

func (l *loader) element(f []string) error {
	var n [3]int
	for i, s := range []string{f[1], f[2], f[4]} {
		v, err := strconv.Atoi(s)
		if err != nil {
			return err
		}
		n[i] = v
	}

	e := Element{
		Name:     f[0],
		Min:      n[0],
		Max:      n[1],
		Summary:  n[2]&1 != 0,
		Modifier: n[2]&2 != 0,
	}

	for _, t := range list(f[3]) {
		name, targets, _ := strings.Cut(strings.TrimSuffix(t, ")"), "(")
		ref := TypeRef{Name: name}
		if targets != "" {
			ref.Targets = strings.Split(targets, "|")
		}
		e.Types = append(e.Types, ref)
	}

	if f[5] != "" {
		e.Codes = l.set(f[5])
	}
	l.last.Elements = append(l.last.Elements, e)
	return nil
}

func (l *loader) param(f []string) {
	p := &Param{
		Code:       f[0],
		Type:       f[1],
		Base:       list(f[2]),
		Target:     list(f[3]),
		Expression: f[4],
		URL:        f[5],
	}

	if f[6] != "" {
		for _, c := range strings.Split(f[6], ";") {
			definition, expression, _ := strings.Cut(c, " ")
			p.Components = append(p.Components, Component{definition, expression})
		}
	}

	l.t.Params = append(l.t.Params, p)
}

// link resolves names once all lines are read.
func (l *loader) link() error {
	for name, t := range l.t.types {
		if t.Kind == Resource {
			l.t.resources = append(l.t.resources, name)
		}
		if err := l.members(t); err != nil {
			return err
		}
	}

	slices.Sort(l.t.resources)
	for _, s := range l.t.sets {
		for _, codes := range s.systems {
			for _, c := range codes {
				s.codes[c] = true
			}
		}

		if len(s.codes) == 0 {
			return fmt.Errorf("no codes for %s", s.Name)
		}
	}

	l.params()
	return nil
}

// members makes the names that JSON uses for a type's elements.
func (l *loader) members(t *Type) error {
	t.members = make(map[string]Member, 2*len(t.Elements))
	for i := range t.Elements {
		e := &t.Elements[i]
		for j := range e.Types {
			ref := &e.Types[j]
			ref.Of = l.t.types[strings.TrimPrefix(ref.Name, "@")]
			if ref.Name == "Resource" {
				ref.Of = nil
			} else if ref.Of == nil && (ref.Name[0] < 'a' || ref.Name[0] > 'z') {
				return fmt.Errorf("%s.%s: no type %s", t.Name, e.Name, ref.Name)
			}

			name := jsonName(e, ref)
			t.members[name] = Member{
				Index:   i,
				Element: e,
				Type:    ref,
			}

			if ref.Primitive() && !t.Attribute(e) && ref.Name != "xhtml" {
				t.members["_"+name] = Member{
					Index:   i,
					Element: e,
					Type:    ref,
					Shadow:  true,
				}
			}
		}
	}

	return nil
}

// jsonName is the member's name of an element with one of its types.
func jsonName(e *Element, ref *TypeRef) string {
	if !e.Choice() {
		return e.Name
	}

	suffix := ref.Name
	switch suffix { // profiles of Quantity have its name
	case "SimpleQuantity", "MoneyQuantity":
		suffix = "Quantity"
	}

	return e.Name[:len(e.Name)-3] + strings.ToUpper(suffix[:1]) + suffix[1:]
}

// params lists for each resource type the parameters it has: all types have
// those of Resource, and all but three types descend from DomainResource
// (FHIR R4, resource.html).
func (l *loader) params() {
	for _, p := range l.t.Params {
		for _, base := range p.Base {
			switch base {
			case "Resource":
				l.give(p, func(string) bool {
					return true
				})
			case "DomainResource":
				l.give(p, func(name string) bool {
					return name != "Bundle" && name != "Binary" && name != "Parameters"
				})
			default:
				l.t.byType[base] = append(l.t.byType[base], p)
			}
		}
	}
}

func (l *loader) give(p *Param, to func(name string) bool) {
	for _, name := range l.t.resources {
		if to(name) {
			l.t.byType[name] = append(l.t.byType[name], p)
		}
	}
}
