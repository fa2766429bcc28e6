package search

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

func tokenProbes(c *Clause, p *Param, modifier, v string) error {
	switch {
	case modifier == "":
		c.tokens(p, "", v)
		return nil
	case modifier == "of-type" && p.identifies():
		return typedProbes(c, p, v)
	case modifier == "text" && p.speaks():
		return saidTest(c, p, v)
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
	return slices.ContainsFunc(p.paths, func(pa path) bool { return pa.leaf == "Identifier" })
}

// tokens adds [system]|[code], [code], |[code] and [system]| (3.1.1.4.10);
// lead stands before the code in the term.
func (c *Clause) tokens(p *Param, lead, v string) {
	parts := splitEscaped(v, '|')
	code := whole(unescape(parts[0]))
	if len(parts) == 1 {
		pr := p.beginning(lead, code, sep)
		pr.exact = true
		c.probes = append(c.probes, pr)
		return
	}

	system := code
	code = whole(unescape(strings.Join(parts[1:], "|")))
	if code == "" {
		pr := p.beginning(lead)
		pr.keep = func(value []byte) bool {
			return value[0] != ofType[0] && bytes.HasSuffix(value, []byte(sep+system))
		}
		c.probes = append(c.probes, pr)
		return
	}

	c.probes = append(c.probes, p.exactly(lead, code, sep, system))
	if system != "" && lead == "" && p.fits(system) {
		c.probes = append(c.probes, p.exactly(code, sep, implicit))
	}
}

func stringProbes(c *Clause, p *Param, modifier, v string) error {
	text := unescape(v)
	folded := fold(text)
	var pr probe

	switch modifier {
	case "":
		pr = p.beginning(folded)
		pr.exact = len(folded) > 2
	case "exact":
		pr = p.exactly(folded, sep, cut(clean(text)))
	case "contains":
		pr = allOf(p)
		pr.keep = func(value []byte) bool {
			head, _, _ := bytes.Cut(value, []byte(sep))
			return bytes.Contains(head, []byte(folded))
		}

	default:
		return noModifier(p.Code, modifier)
	}

	if folded == "" {
		return unknown("%s is empty", p.Code)
	}

	c.probes = append(c.probes, pr)
	return nil
}

func uriProbes(c *Clause, p *Param, modifier, v string) error {
	v = whole(unescape(v))
	switch modifier {
	case "":
		c.probes = append(c.probes, p.exactly(v))
	case "below":
		c.probes = append(c.probes, p.beginning(v))
	case "above":
		for _, above := range parents(v) {
			c.probes = append(c.probes, p.exactly(above))
		}

	default:
		return noModifier(p.Code, modifier)
	}

	return nil
}

// parents gives a URL and those that stand above it, with and without a slash
// at their ends (R4 search 3.1.1.4.8, :above); a URN has none.
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

// cutPrefix takes a comparison's prefix off a value; none is eq.
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
	keep := func(value []byte) bool { return test(spanOf(value), s) }
	c.probes = append(c.probes, p.dates(short, from, to, keep), p.dates(long, never, always, keep))

	return nil
}

func (p *Param) dates(class byte, from, to int64, keep func([]byte) bool) probe {
	k := append(p.key(), class)
	n := len(k)
	pr := probe{from: binary.BigEndian.AppendUint64(k[:n:n], uint64(from)^1<<63), keep: keep}
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

// interval reads a number as the stretch that its written precision means:
// 5.4 is 5.35 up to 5.45 (3.1.1.4.7.1).
func interval(s string) (exact, lo, hi float64, ok bool) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) || len(s) > 40 || strings.ContainsAny(s, "xXpP_nNiI") {
		return 0, 0, 0, false
	}

	mantissa, exponent, _ := strings.Cut(strings.ToLower(s), "e")
	e, _ := strconv.Atoi(exponent)
	if _, decimals, ok := strings.Cut(mantissa, "."); ok {
		e -= len(decimals)
	}
	half := 0.5 * math.Pow(10, float64(e))
	return f, f - half, f + half, true
}

// numberTest gives a comparison with the number as it is written.
func numberTest(prefix, s string) (from, to float64, test func(float64) bool, ok bool) {
	exact, lo, hi, ok := interval(s)
	inf := math.Inf(1)
	switch prefix {
	case "eq":
		return lo, hi, func(f float64) bool { return f >= lo && f < hi }, ok
	case "ne":
		return -inf, inf, func(f float64) bool { return f < lo || f >= hi }, ok
	case "gt", "sa":
		return exact, inf, func(f float64) bool { return f > exact }, ok
	case "ge":
		return lo, inf, func(f float64) bool { return f >= exact || f >= lo && f < hi }, ok

	case "lt", "eb":
		return -inf, exact, func(f float64) bool { return f < exact }, ok
	case "le":
		return -inf, hi, func(f float64) bool { return f <= exact || f >= lo && f < hi }, ok
	case "ap":
		by := math.Abs(exact) / 10
		return exact - by, exact + by, func(f float64) bool { return math.Abs(f-exact) <= by }, ok
	}

	return 0, 0, nil, false
}

func (p *Param) numbers(prefix, s string, unit func(rest []byte) bool) (probe, bool) {
	from, to, test, ok := numberTest(prefix, s)
	if !ok {
		return probe{}, false
	}
	pr := probe{from: ordered(p.key(), from), to: after(ordered(p.key(), to))}
	pr.keep = func(value []byte) bool {
		return len(value) >= 8 && test(unordered(value)) && (unit == nil || unit(value[8:]))
	}
	return pr, true
}

func numberProbes(c *Clause, p *Param, modifier, v string) error {
	prefix, rest := cutPrefix(v)
	pr, ok := p.numbers(prefix, rest, nil)
	if modifier != "" {
		return noModifier(p.Code, modifier)
	}
	if !ok {
		return bad("%s: %s is not a number with a prefix", p.Code, printable(v))
	}
	c.probes = append(c.probes, pr)
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

	prefix, number := cutPrefix(parts[0])
	pr, ok := p.numbers(prefix, number, unit)
	if !ok {
		return bad("%s: %s is not a number with a prefix", p.Code, printable(v))
	}

	c.probes = append(c.probes, pr)
	return nil
}

// unitTest matches system and code; without a system, code or unit.
func unitTest(system, code string) func([]byte) bool {
	system, code = cut(clean(system)), cut(clean(code))
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

	v = unescape(v)
	if modifier != "" && !IsType(modifier) {
		return noModifier(p.Code, modifier)
	}

	r := in.bases.ParseRef(v)
	switch {
	case r.Version != "":
		c.probes = append(c.probes, p.exactly(r.ID, sep, r.Type, sep, r.Version))
	case r.Type != "":
		c.probes = append(c.probes, p.exactly(r.ID, sep, r.Type))
	case ValidID(v) && modifier != "":
		c.probes = append(c.probes, p.exactly(v, sep, modifier))
	case ValidID(v):
		pr := p.beginning(v, sep)
		pr.exact = true
		c.probes = append(c.probes, pr)

	default:
		c.probes = append(c.probes, p.exactly(whole(v), sep))
	}

	if r.Type != "" && modifier != "" && r.Type != modifier {
		return bad("%s: %s is not a %s", p.Code, printable(v), modifier)
	}
	return nil
}
