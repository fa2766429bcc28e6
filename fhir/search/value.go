package search

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"time"

	"fhirdest.example/fhir/tree"
)

func tokenProbes(c *Clause, p *Param, modifier, v string) error {
	switch {
	case modifier == "":
		c.tokens(p, "", v)
		return nil
	case modifier == "of-type" && p.identifies():
		return typedProbes(c, p, v)
	case modifier == "text" && p.hasText():
		return textProbes(c, p, v)
	}

	return noModifier(p.Code, modifier)
}

// typedProbes reads system|code|value: the type of an identifier and its value
// (R4 search 3.1.1.4.10, :of-type). All three must be there.
func typedProbes(c *Clause, p *Param, v string) error {
	parts := splitEscaped(v, '|')
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
		return bad("%s:of-type: %s is not system|code|value", p.Code, printable(v))
	}

	for i := range parts {
		parts[i] = whole(unescape(parts[i]))
	}

	c.probes = append(c.probes, p.exactly(ofType, parts[1], sep, parts[0], sep, parts[2]))
	return nil
}

// identifies reports whether the parameter looks at identifiers.
func (p *Param) identifies() bool {
	return slices.ContainsFunc(p.paths, func(pa path) bool {
		return pa.leaf == "Identifier"
	})
}

// tokens adds [system]|[code], [code], |[code] and [system]| (R4 search
// 3.1.1.4.10); lead is before the code in the term.
func (c *Clause) tokens(p *Param, lead, v string) {
	parts := splitEscaped(v, '|')
	code := whole(unescape(parts[0]))
	if len(parts) == 1 {
		c.codes(p, func(code string) probe {
			pr := p.beginning(lead, code, sep)
			pr.exact = true
			return pr
		}, unescape(parts[0]))

		return
	}

	system := code
	code = unescape(strings.Join(parts[1:], "|"))
	if code == "" {
		pr := p.beginning(lead)
		pr.keep = func(value []byte) bool {
			return value[0] != ofType[0] && bytes.HasSuffix(value, []byte(sep+system))
		}
		c.probes = append(c.probes, pr)

		return
	}

	c.codes(p, func(code string) probe {
		return p.exactly(lead, code, sep, system)
	}, code)
	if system != "" && lead == "" && p.fits(system) {
		c.probes = append(c.probes, p.exactly(whole(code), sep, implicit))
	}
}

// codes adds the probe of a code, and of its caseless form where the parameter
// looks at strings too.
func (c *Clause) codes(p *Param, of func(code string) probe, code string) {
	c.probes = append(c.probes, of(whole(code)))
	if other := caseless(code); other != code && p.looksAt("string") {
		c.probes = append(c.probes, of(whole(other)))
	}
}

// toOneType reports whether the index has references to resources of one type
// only under the parameter.
func (p *Param) toOneType() bool {
	typ := ""
	for i := range p.paths {
		to := p.paths[i].target
		if to == "" || typ != "" && to != typ {
			return false
		}
		typ = to
	}
	return typ != ""
}

// looksAt reports whether any of the parameter's paths ends at one of the types.
func (p *Param) looksAt(types ...string) bool {
	return slices.ContainsFunc(p.paths, func(pa path) bool {
		return slices.Contains(types, pa.leaf)
	})
}

func stringProbes(c *Clause, p *Param, modifier, v string) error {
	text := unescape(v)
	folded := fold(text)
	if folded.spaced == "" {
		return unknown("%s is empty", p.Code)
	}

	switch modifier {
	case "":
		for _, form := range folded.forms() {
			c.beginsWith(p, form)
		}
	case "exact":
		c.isExactly(p, folded, exactly(text))
	case "contains":
		c.contains(p, folded)

	default:
		return noModifier(p.Code, modifier)
	}

	return nil
}

// beginsWith adds the texts with a beginning. Of those longer than the index
// has, the resource has the rest.
func (c *Clause) beginsWith(p *Param, form string) {
	if len(form) <= maxText {
		pr := p.beginning(form)
		pr.exact = len(form) > 2
		c.probes = append(c.probes, pr)
		return
	}

	pr := p.beginning(cut(form, maxText), longText)
	pr.exact = true
	c.verify(pr, p.textTest(func(f folded) bool {
		return slices.ContainsFunc(f.forms(), func(s string) bool {
			return strings.HasPrefix(s, form)
		})
	}))
}

func (c *Clause) isExactly(p *Param, folded folded, text string) {
	if len(folded.spaced) <= maxText && len(text) <= maxText {
		c.probes = append(c.probes, p.exactly(folded.spaced, sep, text))
		return
	}
	c.probes = append(c.probes,
		p.exactly(cut(fold(cut(text, maxFolded)).spaced, maxText), longText, digest(text)))
}

func (c *Clause) contains(p *Param, of folded) {
	anywhere := func(in string) bool {
		return slices.ContainsFunc(of.forms(), func(s string) bool {
			return strings.Contains(in, s)
		})
	}

	pr := allOf(p)
	pr.keep = func(value []byte) bool {
		end := bytes.IndexFunc(value, func(r rune) bool {
			return r < ' '
		})
		return anywhere(string(value[:max(end, 0)]))
	}
	c.probes = append(c.probes, pr)
	c.verify(p.exactly(longText), p.textTest(func(f folded) bool {
		return slices.ContainsFunc(f.forms(), anywhere)
	}))
}

// verify adds resources that match if they pass the test too.
func (c *Clause) verify(pr probe, also test) {
	c.maybe = append(c.maybe, pr)
	c.either(also)
}

// either adds a test that is enough.
func (c *Clause) either(also test) {
	before := c.test
	if before == nil {
		c.test = also
		return
	}
	c.test = func(typ string, root *tree.Value, within *container) bool {
		return before(typ, root, within) || also(typ, root, within)
	}
}

// textTest is whether any text that the parameter looks at passes.
func (p *Param) textTest(passes func(folded) bool) test {
	return func(typ string, root *tree.Value, _ *container) bool {
		found := false
		for i := range p.paths {
			if pa := &p.paths[i]; typ == p.Type && !found {
				walk(root, pa.steps, func(v *tree.Value) {
					eachText(pa.leaf, v, func(s string) {
						found = found || passes(fold(s))
					})
				})
			}
		}

		return found
	}
}

func uriProbes(c *Clause, p *Param, modifier, v string) error {
	url := unescape(v)
	switch modifier {
	case "":
		parts := splitEscaped(v, '|')
		if len(parts) == 2 && parts[1] != "" && (p.Code == "url" || p.looksAt("canonical")) {
			c.probes = append(
				c.probes,
				p.exactly(whole(unescape(parts[0])), sep, whole(unescape(parts[1]))),
			)
			return nil
		}
		c.probes = append(c.probes, p.exactly(whole(url)))

	case "below":
		c.below(p, clean(url))
	case "above":
		for _, above := range parents(url) {
			c.probes = append(c.probes, p.exactly(whole(above)))
		}

	default:
		return noModifier(p.Code, modifier)
	}

	return nil
}

// below adds the URLs that begin so. Of those longer than the index has, the
// resource has the rest.
func (c *Clause) below(p *Param, url string) {
	if len(url) <= wholeText {
		c.probes = append(c.probes, p.beginning(url))
		return
	}

	c.verify(p.beginning(cut(url, wholeText)), func(typ string, root *tree.Value, _ *container) bool {
		found := false
		for i := range p.paths {
			if typ == p.Type {
				walk(root, p.paths[i].steps, func(v *tree.Value) {
					found = found || strings.HasPrefix(clean(v.Literal()), url)
				})
			}
		}

		return found
	})
}

// parents returns a URL and those above it, with and without a slash at their
// ends (R4 search 3.1.1.4.13, :above); a URN has none.
func parents(v string) []string {
	all := []string{v}
	_, rest, ok := strings.Cut(v, "://")
	for root := len(v) - len(rest); ok && len(all) < maxParents; {
		i := strings.LastIndexByte(v, '/')
		if i < root {
			break
		}

		all = append(all, v[:i+1], v[:i])
		v = v[:i]
	}

	return all
}

// cutPrefix splits a comparison's prefix from a value; none is eq.
func cutPrefix(v string) (prefix, rest string) {
	if len(v) > 2 && v[0] >= 'a' && v[0] <= 'z' {
		return v[:2], v[2:]
	}
	return "eq", v
}

func (in *parsing) dateProbes(c *Clause, p *Param, modifier, v string) error {
	if modifier != "" {
		return noModifier(p.Code, modifier)
	}

	prefix, rest := cutPrefix(v)
	s, ok := parseDate(unescape(strings.ReplaceAll(rest, " ", "+")))
	test := dateTests[prefix]
	if !ok || test == nil {
		return bad("%s: %s is not a date with a prefix", p.Code, printable(v))
	}

	if prefix == "ap" {
		s = in.widen(s)
	}
	from, to := dateBounds(prefix, s)
	keep := func(value []byte) bool {
		return test(spanOf(value), s)
	}
	c.probes = append(
		c.probes,
		p.dates(shortSpan, from, to, keep),
		p.dates(longSpan, never, always, keep),
	)

	return nil
}

func (p *Param) dates(class byte, from, to int64, keep func([]byte) bool) probe {
	k := append(p.key(), class)
	n := len(k)
	pr := probe{
		from: binary.BigEndian.AppendUint64(k[:n:n], uint64(from)^1<<63),
		keep: keep,
	}
	if to == always {
		pr.to = after(k)
	} else {
		pr.to = binary.BigEndian.AppendUint64(k[:n:n], uint64(to)^1<<63)
	}

	return pr
}

// widen makes "about" a date: a tenth of its distance from now, either way.
func (in *parsing) widen(s span) span {
	now := time.Unix(0, 0)
	if in.now != nil {
		now = in.now()
	}
	by := max(now.UnixMilli()-s.lo, s.lo-now.UnixMilli()) / 10
	return span{s.lo - by, s.hi + by}
}

// numbers are the values that a comparison lets through: points between its
// bounds, and any range.
func (c *Clause) numbers(p *Param, prefix, s string, unit func(rest []byte) bool) bool {
	is, ok := compareNumber(prefix, s)
	if !ok {
		return false
	}

	keep := func(value []byte) bool {
		lo, hi, rest := ends(value)
		return is.passes(lo, hi) && (unit == nil || unit(rest))
	}

	points, ranges := prefixed(append(p.key(), point)), prefixed(append(p.key(), interval))
	n := len(points.from)
	if is.from != nil {
		points.from = append(points.from[:n:n], is.from...)
	}
	if is.to != nil {
		points.to = after(append(append(p.key(), point), is.to...))
	}

	points.keep, ranges.keep = keep, keep
	c.probes = append(c.probes, points, ranges)

	return true
}

func numberProbes(c *Clause, p *Param, modifier, v string) error {
	if modifier != "" {
		return noModifier(p.Code, modifier)
	}
	if prefix, rest := cutPrefix(v); !c.numbers(p, prefix, rest, nil) {
		return bad("%s: %s is not a number with a prefix", p.Code, printable(v))
	}
	return nil
}

// quantityProbes reads [prefix][number]|[system]|[code] (3.1.1.4.11).
func quantityProbes(c *Clause, p *Param, modifier, v string) error {
	if modifier != "" {
		return noModifier(p.Code, modifier)
	}

	parts := splitEscaped(v, '|')
	var unit func([]byte) bool
	switch len(parts) {
	case 1:
	case 3:
		unit = unitTest(unescape(parts[1]), unescape(parts[2]))
	default:
		return bad("%s: %s is not number|system|code", p.Code, printable(v))
	}

	if prefix, number := cutPrefix(parts[0]); !c.numbers(p, prefix, number, unit) {
		return bad("%s: %s is not a number with a prefix", p.Code, printable(v))
	}
	return nil
}

// unitTest matches system and code; without a system, code or unit.
func unitTest(system, code string) func([]byte) bool {
	system, code = whole(system), whole(code)
	return func(rest []byte) bool {
		gotCode, more, _ := strings.Cut(string(rest), sep)
		gotSystem, unit, _ := strings.Cut(more, sep)
		if system != "" {
			return gotSystem == system && (code == "" || gotCode == code)
		}

		return code == "" || gotCode == code || unit == code
	}
}

func (in *parsing) referenceProbes(c *Clause, p *Param, modifier, v string) error {
	if modifier == "identifier" {
		c.tokens(p, logical, v)
		return nil
	}

	if modifier != "" && !IsType(modifier) {
		return noModifier(p.Code, modifier)
	}

	text := unescape(v)
	r := in.bases.ParseRef(text)
	switch {
	case r.Version != "":
		c.probes = append(c.probes, p.exactly(r.ID, sep, r.Type, sep, r.Version))
	case r.Type != "":
		c.probes = append(c.probes, p.exactly(r.ID, sep, r.Type))
	case ValidID(text) && modifier != "":
		c.probes = append(c.probes, p.exactly(text, sep, modifier))
	case ValidID(text):
		pr := p.beginning(text, sep)
		pr.exact = true
		c.probes = append(c.probes, pr)
		if !p.toOneType() {
			c.bare = append(c.bare, bare{p, text})
		}

	case p.looksAt("canonical"):
		c.probes = append(c.probes, canonicalProbe(p, v))
	default:
		c.probes = append(c.probes, p.exactly(whole(text), sep))
	}

	if r.Type != "" && modifier != "" && r.Type != modifier {
		return bad("%s: %s is not a %s", p.Code, printable(v), modifier)
	}
	return nil
}

// canonicalProbe is that of a canonical reference: URL, of any version, or
// URL|version (R4 search 3.1.1.4.12).
func canonicalProbe(p *Param, v string) probe {
	parts := splitEscaped(v, '|')
	url := whole(unescape(parts[0]))
	if len(parts) == 2 && parts[1] != "" {
		return p.exactly(url, sep, sep, whole(unescape(parts[1])))
	}
	pr := p.beginning(url, sep)
	pr.exact = true
	return pr
}
