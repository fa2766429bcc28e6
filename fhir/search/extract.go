package search

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"time"

	"fhirdest.example/fhir/tree"
)

// extractVersion changes whenever the rules below do: it makes stores index
// anew.
const extractVersion = "2"

// maxTerms bounds the terms of one resource; what is over is not found by
// search. It keeps one write's cost in proportion.
const maxTerms = 4096

// Extractor extracts the search terms of resources.
type Extractor struct{ Bases Bases }

// Stamp is what the server decides of a version; it is indexed in the place of
// what the body says.
type Stamp struct {
	ID      string
	Updated time.Time
}

// Extract gives the terms of a resource of a type that IsType.
func (x *Extractor) Extract(typ string, root *tree.Value, st Stamp) Terms {
	c := collector{x: x, stamp: st, arena: make([]byte, 0, 1024), terms: make([][]byte, 0, 32)}
	for _, p := range tables().params[typ] {
		c.param(p, root)
	}
	slices.SortFunc(c.terms, bytes.Compare)
	return packTerms(c.terms)
}

// collector gathers terms, all in one arena while it is large enough.
type collector struct {
	x     *Extractor
	stamp Stamp
	id    uint16
	arena []byte
	terms [][]byte
}

func (c *collector) param(p *Param, root *tree.Value) {
	c.id = p.id
	switch p.Code {
	case "_type":
		c.add("")
		return
	case "_id":
		c.add(c.stamp.ID, sep)
		return
	case "_lastUpdated":
		ms := c.stamp.Updated.UnixMilli()
		c.build(span{ms, ms + 1}.value)
		return
	}

	if p.Kind == Composite {
		c.composite(p, root)
		return
	}

	present, notFalse := false, false
	for i := range p.paths {
		pa := &p.paths[i]
		notFalse = notFalse || pa.notFalse
		walk(root, pa.steps, func(v *tree.Value) {
			if pa.notFalse {
				present = present || v.Kind != tree.False
				return
			}
			c.leaf(p.Kind, pa, v)
		})
	}

	if notFalse {
		c.add(strconv.FormatBool(present), sep, implicit)
	}
}

// add keeps the term of these parts.
func (c *collector) add(parts ...string) {
	c.build(func(b []byte) []byte {
		for _, p := range parts {
			b = append(b, p...)
		}
		return b
	})
}

func (c *collector) build(f func([]byte) []byte) {
	if len(c.terms) >= maxTerms {
		return
	}
	if cap(c.arena)-len(c.arena) < 512 {
		c.arena = make([]byte, 0, 4096)
	}
	at := len(c.arena)
	c.arena = append(c.arena, byte(c.id>>8), byte(c.id))
	c.arena = f(c.arena)
	c.terms = append(c.terms, c.arena[at:len(c.arena):len(c.arena)])
}

func (c *collector) leaf(k Kind, pa *path, v *tree.Value) {
	switch k {
	case Token:
		c.token(pa.leaf, v)
	case String:
		c.text(pa.leaf, v)
	case Date:
		c.date(pa.leaf, v)
	case Reference:
		c.reference(pa, v)

	case Quantity:
		c.quantity(pa.leaf, v)
	case URI:
		if s := v.Literal(); s != "" {
			c.add(whole(s))
		}
	case Number:
		c.number(v)
	}
}

// token indexes as R4 search 3.1.1.4.10's table maps types to system and code.
func (c *collector) token(leaf string, v *tree.Value) {
	switch leaf {
	case "CodeableConcept":
		for i := range v.Get("coding").Each() {
			c.coding(v.Get("coding").Each()[i].Get("code"), v.Get("coding").Each()[i].Get("system"))
		}
	case "Coding":
		c.coding(v.Get("code"), v.Get("system"))
	case "Identifier":
		c.coding(v.Get("value"), v.Get("system"))
		c.typed(v)

	case "ContactPoint":
		c.coding(v.Get("value"), nil)
	case "code", "boolean":
		if s := v.Literal(); s != "" {
			c.add(whole(s), sep, implicit)
		}
	default:
		if s := v.Literal(); s != "" {
			c.add(whole(s), sep)
		}
	}
}

// typed indexes an identifier by its type, for :of-type.
func (c *collector) typed(v *tree.Value) {
	value := whole(v.Get("value").Literal())
	codings := v.At("type", "coding").Each()
	for i := range codings {
		if code := codings[i].Get("code").Literal(); code != "" && value != "" {
			c.add(ofType, whole(code), sep, whole(codings[i].Get("system").Literal()), sep, value)
		}
	}
}

func (c *collector) coding(code, system *tree.Value) {
	if code == nil && system == nil {
		return
	}
	c.add(whole(code.Literal()), sep, whole(system.Literal()))
}

var (
	nameParts    = []string{"text", "family", "given", "prefix", "suffix"}
	addressParts = []string{"text", "line", "city", "district", "state", "postalCode", "country"}
)

func (c *collector) text(leaf string, v *tree.Value) {
	switch leaf {
	case "HumanName":
		c.parts(v, nameParts)
	case "Address":
		c.parts(v, addressParts)
	case "CodeableConcept":
		c.parts(v, []string{"text"})
	default:
		c.string(v.Literal())
	}
}

func (c *collector) parts(v *tree.Value, names []string) {
	for _, n := range names {
		each := v.Get(n).Each()
		for i := range each {
			c.string(each[i].Literal())
		}
	}
}

func (c *collector) string(s string) {
	if s != "" {
		c.add(fold(s), sep, cut(clean(s)))
	}
}

func (c *collector) date(leaf string, v *tree.Value) {
	switch leaf {
	case "Period":
		c.period(v)
	case "Timing":
		events := v.Get("event").Each()
		for i := range events {
			c.instant(events[i].Literal())
		}
		if p := v.At("repeat", "boundsPeriod"); p != nil {
			c.period(p)
		}

	default:
		c.instant(v.Literal())
	}
}

func (c *collector) instant(s string) {
	if d, ok := parseDate(s); ok {
		c.build(d.value)
	}
}

// period indexes a Period; an end that is not there is open.
func (c *collector) period(v *tree.Value) {
	start, hasStart := parseDate(v.Get("start").Literal())
	end, hasEnd := parseDate(v.Get("end").Literal())
	if !hasStart && !hasEnd {
		return
	}

	s := span{never, always}
	if hasStart {
		s.lo = start.lo
	}
	if hasEnd {
		s.hi = end.hi
	}
	c.build(s.value)
}

func (c *collector) quantity(leaf string, v *tree.Value) {
	switch leaf {
	case "Range":
		for _, end := range []string{"low", "high"} {
			if q := v.Get(end); q != nil {
				c.amount(q)
			}
		}

	case "SampledData":
	case "Money":
		c.measure(v.Get("value"), v.Get("currency").Literal(), "urn:iso:std:iso:4217", "")
	default:
		c.amount(v)
	}
}

func (c *collector) amount(q *tree.Value) {
	c.measure(q.Get("value"), q.Get("code").Literal(), q.Get("system").Literal(), q.Get("unit").Literal())
}

func (c *collector) measure(value *tree.Value, code, system, unit string) {
	f, err := strconv.ParseFloat(value.Literal(), 64)
	if err != nil {
		return
	}
	c.build(func(b []byte) []byte {
		b = append(ordered(b, f), cut(clean(code))...)
		b = append(append(b, sep...), cut(clean(system))...)
		return append(append(b, sep...), cut(clean(unit))...)
	})
}

func (c *collector) number(v *tree.Value) {
	if f, err := strconv.ParseFloat(v.Literal(), 64); err == nil {
		c.build(func(b []byte) []byte { return ordered(b, f) })
	}
}

func (c *collector) reference(pa *path, v *tree.Value) {
	switch pa.leaf {
	case "Reference":
		c.link(pa, v.Get("reference").Literal(), v.Get("type").Literal())
		if id := v.Get("identifier"); id != nil && (pa.target == "" || v.Get("type").Literal() == pa.target) {
			c.add(logical, whole(id.Get("value").Literal()), sep, whole(id.Get("system").Literal()))
		}
	case "canonical", "uri":
		c.canonical(v.Literal())
	}
}

// link indexes a literal reference. Those into the resource itself ("#a") lead
// nowhere that a search could go.
func (c *collector) link(pa *path, ref, typ string) {
	if ref == "" || ref[0] == '#' {
		return
	}

	r := c.x.Bases.ParseRef(ref)
	if pa.target != "" && r.Type != pa.target && !(r.Type == "" && (typ == pa.target ||
		foreignType(ref) == pa.target)) {
		return
	}
	if r.Type == "" {
		c.add(whole(ref), sep)
		return
	}

	c.add(r.ID, sep, r.Type)
	if r.Version != "" {
		c.add(r.ID, sep, r.Type, sep, r.Version)
	}
}

// canonical indexes a canonical URL with and without its version.
func (c *collector) canonical(s string) {
	if s == "" {
		return
	}
	c.add(whole(s), sep)
	if url, _, ok := strings.Cut(s, "|"); ok {
		c.add(whole(url), sep)
	}
}
