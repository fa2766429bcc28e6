// Package search finds FHIR resources by HL7's own R4 search parameters. It
// extracts terms from resources (Extractor), parses queries (Parser), and finds
// the resources that match (Finder) in an ordered index that its caller stores.
package search

import (
	_ "embed"
	"encoding/binary"
	"hash/fnv"
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"
)

//go:generate go run ./internal/gen

//go:embed params.txt
var paramsText string

//go:embed uscore.txt
var usCoreText string

//go:embed compartment.txt
var compartmentText string

// Kind is the type of a search parameter, as FHIR names it.
type Kind string

// The kinds that are served.
const (
	Token     Kind = "token"
	String    Kind = "string"
	Date      Kind = "date"
	Reference Kind = "reference"
	Quantity  Kind = "quantity"
	URI       Kind = "uri"
	Number    Kind = "number"
	Composite Kind = "composite"
)

// Param is one search parameter of one resource type.
type Param struct {
	Type, Code string
	Kind       Kind
	Targets    []string // of a reference; nil for any type

	id    uint16
	paths []path
	whole []composite // of a Composite: where its parts are together
	union []*Param    // of a Composite that is several others
}

// paramTable is the contents of params.txt. It is made once and never changed.
type paramTable struct {
	types       []string
	params      map[string]map[string]*Param
	byID        []*Param
	order       map[string]order
	compartment map[string]map[string][]string // by type of the compartment, then type
	patients    map[string][]uint16            // numbers of the parameters of a patient's compartment, in order
	version     uint64
}

var tables = sync.OnceValue(load)

func load() *paramTable {
	t := &paramTable{
		params:      map[string]map[string]*Param{},
		order:       map[string]order{},
		compartment: map[string]map[string][]string{},
		patients:    map[string][]uint16{},
	}
	common := t.readParams(paramsText)
	common = append(common, t.readParams(usCoreText)...)

	sort.Strings(t.types)

	for _, typ := range t.types {
		for _, code := range []string{"_type", accessParam} {
			t.add(&Param{
				Type: typ,
				Code: code,
				Kind: Token,
			})
		}

		for _, p := range common {
			own := *p
			own.Type = typ
			t.add(&own)
		}
	}

	t.number()
	for _, p := range t.byID {
		p.unite(t.params[p.Type])
	}

	for _, line := range lines(compartmentText) {
		f := strings.Split(line, "\t")
		if t.compartment[f[0]] == nil {
			t.compartment[f[0]] = map[string][]string{}
		}
		t.compartment[f[0]][f[1]] = strings.Split(f[2], ",")
	}

	for _, typ := range t.types {
		t.order[typ] = t.ordered(typ)
		t.patients[typ] = t.patientParams(typ)
	}

	h := fnv.New64a()
	h.Write([]byte(paramsText + usCoreText + extractVersion))
	t.version = h.Sum64()
	return t
}

// patientParams returns the numbers of the parameters by which resources of a
// type are in a patient's compartment, in order.
func (t *paramTable) patientParams(typ string) []uint16 {
	var ids []uint16
	for _, code := range t.compartment["Patient"][typ] {
		if p := t.params[typ][code]; p != nil {
			ids = append(ids, p.id)
		}
	}
	slices.Sort(ids)
	return ids
}

// order is the parameters of a type in the order in which a resource's terms
// are kept: those that identify it, its labels and references, on which access and
// the audit rest, those of its compartments first; then all others.
type order struct{ references, others []*Param }

func (t *paramTable) ordered(typ string) order {
	compartments := map[string]bool{}
	for _, types := range t.compartment {
		for _, code := range types[typ] {
			compartments[code] = true
		}
	}

	var identity, first, second, others []*Param
	for _, code := range sortedCodes(t.params[typ]) {
		switch p := t.params[typ][code]; {
		case code[0] == '_':
			identity = append(identity, p)
		case p.Kind == Reference && compartments[code]:
			first = append(first, p)
		case p.Kind == Reference:
			second = append(second, p)
		default:
			others = append(others, p)
		}
	}

	return order{slices.Concat(identity, first, second), others}
}

func lines(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, "\n"); line != "" && line[0] != '#' {
			all = append(all, line)
		}
	}
	return all
}

// readParams adds the parameters of a text and gives back those of all types.
func (t *paramTable) readParams(text string) (common []*Param) {
	for _, line := range lines(text) {
		f := strings.Split(line, "\t")
		if len(f) == 1 {
			t.types = append(t.types, f[0])
			continue
		}

		p := &Param{
			Type: f[0],
			Code: f[1],
			Kind: Kind(f[2]),
		}
		if p.Kind == Composite {
			p.whole = parseComposites(f[4])
		} else {
			p.paths = parsePaths(f[4])
		}

		if f[3] != "" && f[3] != "*" {
			p.Targets = strings.Split(f[3], ",")
		}
		if p.Type == "Resource" {
			common = append(common, p)
		} else {
			t.add(p)
		}
	}

	return common
}

func (t *paramTable) add(p *Param) {
	of := t.params[p.Type]
	if of == nil {
		of = map[string]*Param{}
		t.params[p.Type] = of
	}
	of[p.Code] = p
}

// number returns each parameter its number in index keys, in the order of type
// and code. A stored index belongs to one Version of the table.
func (t *paramTable) number() {
	for _, typ := range t.types {
		for _, code := range sortedCodes(t.params[typ]) {
			p := t.params[typ][code]
			p.id = uint16(len(t.byID))
			t.byID = append(t.byID, p)
		}
	}
}

func sortedCodes(of map[string]*Param) []string {
	codes := make([]string, 0, len(of))
	for c := range of {
		codes = append(codes, c)
	}
	sort.Strings(codes)
	return codes
}

// Version identifies the table of parameters and the rules of extraction: an
// index made under another version must be made anew.
func Version() uint64 { return tables().version }

// Types returns the names of all concrete resource types, in order. The caller
// must not change it.
func Types() []string { return tables().types }

// IsType reports whether name is a concrete resource type.
func IsType(name string) bool {
	_, ok := tables().params[name]
	return ok
}

// Params returns the parameters of a resource type in the order of their codes.
func Params(typ string) []*Param {
	of := tables().params[typ]
	all := make([]*Param, 0, len(of))
	for _, code := range sortedCodes(of) {
		if !hidden(code) {
			all = append(all, of[code])
		}
	}
	return all
}

// Lookup returns the parameter of that code, or nil.
func Lookup(typ, code string) *Param {
	return tables().params[typ][code]
}

// Compartments returns the types that compartments are of (Patient, Encounter,
// ...), in order.
func Compartments() []string {
	return slices.Sorted(maps.Keys(tables().compartment))
}

// key starts every term of the parameter.
func (p *Param) key() []byte {
	return binary.BigEndian.AppendUint16(make([]byte, 0, 64), p.id)
}

// TermRange returns the stretch of index keys (from <= key < to) that resources
// of a type have: all of it one parameter after another.
func TermRange(typ string) (from, to []byte) {
	first := true
	for _, p := range tables().params[typ] {
		if k := p.key(); first || string(k) < string(from) {
			from = k
		}
		if k := after(p.key()); first || string(k) > string(to) {
			to = k
		}
		first = false
	}

	return from, to
}
