package search

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"

	"fhirdest.example/fhir/tree"
)

// extractVersion changes whenever the rules below do: it makes stores index
// anew.
const extractVersion = "4"

// Bounds on the terms of one resource. They keep one write's cost in proportion.
const (
	// maxReferences bounds the terms that access and the audit rest on: a
	// resource with more of them is refused.
	maxReferences = 65_536
	// maxTerms bounds all terms. Those over it are not found by search, in
	// the order of tables().order.
	maxTerms = 4096
)

// ErrTooManyTerms is a resource with more references than a search could follow.
var ErrTooManyTerms error = &Error{"too-costly", "the resource refers to too many others"}

// Extractor extracts the search terms of resources.
type Extractor struct {
	Bases Bases
	// Marks, optional, returns what a policy adds to a resource's terms.
	Marks Marker
}

// Stamp is what the server decides of a version; it is indexed in the place of
// what the body has.
type Stamp struct {
	ID      string
	Updated time.Time
}

// Extract returns the terms of a resource of a type that IsType. With the error
// ErrTooManyTerms, the terms are not all: the resource must not be stored.
func (x *Extractor) Extract(typ string, root *tree.Value, st Stamp) (Terms, error) {
	var marks Marks
	if x.Marks != nil {
		marks = x.Marks(typ, root)
	}
	return extract(x.Bases, typ, root, &container{root: root}, st, marks)
}

// extract returns the terms of a resource within a container, or of one that is
// its own container.
func extract(
	bases Bases, typ string, root *tree.Value, within *container, st Stamp, marks Marks,
) (Terms, error) {
	b := builders.Get().(*Builder)
	defer b.release()
	b.c = collector{
		bases:     bases,
		stamp:     st,
		marks:     marks,
		container: within,
		version:   root.Get("version").Literal(),
		most:      maxReferences,
		arena:     b.c.arena[:0],
		terms:     b.c.terms[:0],
	}

	c := &b.c
	order := tables().order[typ]
	for _, p := range order.references {
		c.param(p, root)
	}

	var err error
	if c.full {
		err = ErrTooManyTerms
	}

	c.most = max(maxTerms, len(c.terms))
	for _, p := range order.others {
		c.param(p, root)
	}

	slices.SortFunc(c.terms, bytes.Compare)
	return packTerms(c.terms), err
}

// collector gathers terms, all in one arena while it is large enough.
type collector struct {
	bases     Bases
	stamp     Stamp
	marks     Marks
	container *container // whose contained resources "#id" leads to
	version   string     // of what has a canonical URL
	id        uint16
	arena     []byte
	terms     [][]byte
	most      int
	full      bool // there are more than most
}

func (c *collector) param(p *Param, root *tree.Value) {
	c.id = p.id
	switch p.Code {
	case "_type":
		c.add("")
		return
	case accessParam:
		c.mark()
		return
	case "_security":
		c.labelled()
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

	there := false
	asks := false
	for i := range p.paths {
		pa := &p.paths[i]
		asks = asks || pa.notFalse
		walk(root, pa.steps, func(v *tree.Value) {
			if pa.notFalse {
				there = there || v.Kind != tree.False
				return
			}

			before := len(c.terms)
			c.leaf(p, pa, v)
			if len(c.terms) == before && (pa.target == "" || v.Get("type").Text() == pa.target) {
				c.add(noValue) // so that :missing does not count it as absent
			}
		})
	}

	if asks {
		c.add(strconv.FormatBool(there), sep, implicit)
	}
}

// add adds the term of these parts.
func (c *collector) add(parts ...string) {
	c.build(func(b []byte) []byte {
		for _, p := range parts {
			b = append(b, p...)
		}
		return b
	})
}

func (c *collector) build(f func([]byte) []byte) {
	if len(c.terms) >= c.most {
		c.full = true
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

func (c *collector) leaf(p *Param, pa *path, v *tree.Value) {
	switch p.Kind {
	case Token:
		c.token(pa.leaf, v)
	case String:
		eachText(pa.leaf, v, func(s string) {
			c.text(s, pa.name)
		})
	case Date:
		c.date(pa.leaf, v)
	case Reference:
		c.reference(pa, v)

	case Quantity, Number:
		c.quantity(pa.leaf, v)
	case URI:
		c.uri(p, pa, v.Literal())
	}
}

// token indexes as the table of R4 search 3.1.1.4.10 maps types to system and
// code.
func (c *collector) token(leaf string, v *tree.Value) {
	switch leaf {
	case "CodeableConcept":
		codings := v.Get("coding").Each()
		for i := range codings {
			c.coding(codings[i].Get("code"), codings[i].Get("system"))
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
	case "string":
		if s := v.Literal(); s != "" {
			c.add(whole(caseless(s)), sep)
		}

	default:
		if s := v.Literal(); s != "" {
			c.add(whole(s), sep)
		}
	}
}

// caseless is a string that a token parameter looks at: it belongs to no code
// system in which case might matter (R4 search 3.1.1.4.10).
func caseless(s string) string {
	return strings.ToLower(norm.NFC.String(s))
}

// typed indexes an identifier by its type, for :of-type.
func (c *collector) typed(v *tree.Value) {
	value := whole(v.Get("value").Literal())
	codings := v.At("type", "coding").Each()
	for i := range codings {
		if code := codings[i].Get("code").Literal(); code != "" && value != "" {
			c.add(
				ofType,
				whole(code),
				sep,
				whole(codings[i].Get("system").Literal()),
				sep,
				value,
			)
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
	addressParts = []string{
		"text", "line", "city", "district", "state", "postalCode", "country",
	}
	conceptParts = []string{"text"}
)

// eachText calls f with each text that a string parameter looks at in an
// element (R4 search 3.1.1.4.8).
func eachText(leaf string, v *tree.Value, f func(string)) {
	var parts []string
	switch leaf {
	case "HumanName":
		parts = nameParts
	case "Address":
		parts = addressParts
	case "CodeableConcept":
		parts = conceptParts

	default:
		if s := v.Literal(); s != "" {
			f(s)
		}
		return
	}

	for _, part := range parts {
		each := v.Get(part).Each()
		for i := range each {
			if s := each[i].Literal(); s != "" {
				f(s)
			}
		}
	}
}

// text indexes a text, its other form, and of a name its further words.
func (c *collector) text(s string, name bool) {
	folded, original := fold(cut(s, maxFolded)), exactly(s)
	if len(folded.spaced) <= maxText && len(original) <= maxText {
		c.add(folded.spaced, sep, original)
	} else {
		c.add(cut(folded.spaced, maxText), longText, digest(original))
		c.add(longText)
	}

	others := folded.forms()[1:]
	if name {
		others = append(others, folded.words()...)
	}

	for _, o := range others {
		if len(o) <= maxText {
			c.add(o, alias)
		} else {
			c.add(cut(o, maxText), longText)
		}
	}
}

// exactly is what :exact compares: the same letters, however composed.
func exactly(s string) string {
	return clean(norm.NFC.String(s))
}

func (c *collector) date(leaf string, v *tree.Value) {
	switch leaf {
	case "Period":
		c.period(v.Get("start").Literal(), v.Get("end").Literal())
	case "Timing":
		c.timing(v)
	default:
		c.period(v.Literal(), v.Literal())
	}
}

// period indexes the time from the beginning of one date to the end of another;
// an end that is not there is open.
func (c *collector) period(start, end string) {
	from, hasFrom := parseDate(start)
	to, hasTo := parseDate(end)
	if !hasFrom && !hasTo {
		return
	}

	s := span{never, always}
	if hasFrom {
		s.lo = from.lo
	}
	if hasTo {
		s.hi = to.hi
	}
	c.build(s.value)
}

// timing indexes a Timing by its outer limits (R4 search 3.1.1.4.7).
func (c *collector) timing(v *tree.Value) {
	s := span{always, never}
	found := false
	events := v.Get("event").Each()
	for i := range events {
		if at, ok := parseDate(events[i].Literal()); ok {
			s, found = span{min(s.lo, at.lo), max(s.hi, at.hi)}, true
		}
	}

	if bounds := v.At("repeat", "boundsPeriod"); bounds != nil {
		from, hasFrom := parseDate(bounds.Get("start").Literal())
		to, hasTo := parseDate(bounds.Get("end").Literal())
		if !hasFrom {
			from.lo = never
		}
		if !hasTo {
			to.hi = always
		}

		if hasFrom || hasTo {
			s, found = span{min(s.lo, from.lo), max(s.hi, to.hi)}, true
		}
	}

	if found {
		c.build(s.value)
	}
}

func (c *collector) quantity(leaf string, v *tree.Value) {
	switch leaf {
	case "Range":
		low, high := v.Get("low"), v.Get("high")
		of := low
		if of == nil {
			of = high
		}
		c.measure(
			low,
			high,
			of.Get("code").Literal(),
			of.Get("system").Literal(),
			of.Get("unit").Literal(),
		)

	case "SampledData":
	case "Money":
		c.measure(v, v, v.Get("currency").Literal(), "urn:iso:std:iso:4217", "")

	case "decimal", "integer":
		if d, ok := parseDecimal(v.Literal()); ok {
			c.build(func(b []byte) []byte {
				return d.appendTo(append(b, point))
			})
		}
	default:
		c.measure(
			v,
			v,
			v.Get("code").Literal(),
			v.Get("system").Literal(),
			v.Get("unit").Literal(),
		)
	}
}

// measure indexes a quantity, or a range of them as an interval whose missing
// end is open.
func (c *collector) measure(low, high *tree.Value, code, system, unit string) {
	from, hasFrom := parseDecimal(low.Get("value").Literal())
	to, hasTo := parseDecimal(high.Get("value").Literal())
	if !hasFrom && !hasTo {
		return
	}

	c.build(func(b []byte) []byte {
		if low == high {
			b = from.appendTo(append(b, point))
		} else {
			b = appendEnd(append(b, interval), from, hasFrom, belowAll)
			b = appendEnd(b, to, hasTo, aboveAll)
		}

		b = append(append(b, whole(code)...), sep...)
		b = append(append(b, whole(system)...), sep...)
		return append(b, whole(unit)...)
	})
}

func appendEnd(b []byte, d decimal, known bool, open byte) []byte {
	if !known {
		return append(b, open)
	}
	return d.appendTo(b)
}

// uri indexes a uri; a canonical, and the url of what has one, with its version
// too (R4 references 2.3.0.2).
func (c *collector) uri(p *Param, pa *path, s string) {
	version := ""
	switch {
	case s == "":
		return
	case pa.leaf == "canonical":
		s, version, _ = strings.Cut(s, "|")
	case p.Code == "url":
		version = c.version
	}

	c.add(whole(s))
	if version != "" {
		c.add(whole(s), sep, whole(version))
	}
}

func (c *collector) reference(pa *path, v *tree.Value) {
	switch pa.leaf {
	case "Reference":
		c.link(pa, v.Get("reference").Literal(), v.Get("type").Literal())
		if id := v.Get("identifier"); id != nil && (pa.target == "" ||
			v.Get("type").Literal() == pa.target) {
			c.add(
				logical,
				whole(id.Get("value").Literal()),
				sep,
				whole(id.Get("system").Literal()),
			)
		}

	case "canonical", "uri":
		c.canonical(v.Literal())
	case "Resource": // the first entry of a document or message
		c.inline(v)
		if typ, id := v.Get("resourceType").Text(), v.Get("id").Text(); IsType(typ) && ValidID(id) {
			c.add(id, sep, typ)
		}
	}
}

// link indexes a literal reference.
func (c *collector) link(pa *path, ref, typ string) {
	if ref == "" {
		return
	}
	if ref[0] == '#' {
		if v := c.container.find(ref[1:]); pa.target == "" ||
			v.Get("resourceType").Text() == pa.target {
			c.inline(v)
		}
		return
	}

	r := c.bases.ParseRef(ref)
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

// inline indexes that the resource has a resource in it, which chains look
// into (R4 search 3.1.1.5.5). nil is none.
func (c *collector) inline(v *tree.Value) {
	if typ := v.Get("resourceType").Text(); IsType(typ) {
		c.add(inline, typ, sep, whole(v.Get("id").Text()))
	}
}

// container is a resource that contains others. A resource may have thousands of
// references to thousands that it contains: they are found by a map, made once.
type container struct {
	root *tree.Value
	byID map[string]*tree.Value
}

// find returns what the resource contains under an id, nil if nothing.
func (c *container) find(id string) *tree.Value {
	if c.byID == nil {
		all := c.root.Get("contained").Each()
		c.byID = make(map[string]*tree.Value, len(all))
		for i := range all {
			if id := all[i].Get("id").Text(); c.byID[id] == nil {
				c.byID[id] = &all[i]
			}
		}
	}

	return c.byID[id]
}

// canonical indexes a canonical URL and its version, if it names one.
func (c *collector) canonical(s string) {
	if s == "" {
		return
	}
	if s[0] == '#' {
		c.inline(c.container.find(s[1:]))
		return
	}

	url, version, _ := strings.Cut(s, "|")
	if version == "" {
		c.add(whole(url), sep)
		return
	}
	c.add(whole(url), sep, sep, whole(version))
}
