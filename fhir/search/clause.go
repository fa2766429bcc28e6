package search

import (
	"bytes"
	"strings"
)

// probe is a stretch of terms, and a test that those in it must pass.
type probe struct {
	from, to []byte // index keys: from <= key < to
	keep     func(value []byte) bool
	exact    bool // one term, so a list of few resources as a rule
}

// within reports whether a term (parameter number and value) is in the stretch
// and passes.
func (p *probe) within(term []byte) bool {
	return compare(term, p.from) >= 0 && compare(term, p.to) < 0 && (p.keep == nil || p.keep(term[2:]))
}

// compare orders the index key that a term begins (the term, 0, a resource's
// number) against a bound.
func compare(term, bound []byte) int {
	if len(bound) <= len(term) {
		if c := bytes.Compare(term[:len(bound)], bound); c != 0 {
			return c
		}
		return 1
	}
	if c := bytes.Compare(term, bound[:len(term)]); c != 0 {
		return c
	}
	if bound[len(term)] > 0 {
		return -1
	}

	return 1
}

// clause reads name=value against the parameters of types.
func (in *parsing) clause(types []string, name, value string, depth int) (Clause, error) {
	if depth > maxChain {
		return Clause{}, tooCostly("a chain of more than %d links", maxChain)
	}
	if rest, ok := strings.CutPrefix(name, "_has:"); ok {
		return in.hasClause(types, rest, value, depth)
	}
	if head, tail, ok := strings.Cut(name, "."); ok {
		return in.chainClause(types, head, tail, value, depth)
	}

	code, modifier, _ := strings.Cut(name, ":")
	var c Clause
	for _, typ := range types {
		p := in.served(typ, code)
		if p == nil {
			return c, unknown(
				"%s has no search parameter %s",
				strings.Join(types, ","),
				printable(code),
			)
		}
		if err := in.alternatives(&c, p, modifier, value); err != nil {
			return c, err
		}
	}

	return c, nil
}

// alternatives adds what p's value means, each of its comma-separated
// parts being enough.
func (in *parsing) alternatives(c *Clause, p *Param, modifier, value string) error {
	for _, one := range p.union {
		if err := in.alternatives(c, one, modifier, value); err != nil {
			return err
		}
	}

	if p.union != nil {
		return nil
	}
	if modifier == "missing" {
		return missing(c, p, value)
	}

	parts := splitEscaped(value, ',')
	if len(parts) > maxValues {
		return tooCostly("more than %d alternatives", maxValues)
	}

	if modifier == "not" {
		if p.Kind != Token {
			return noModifier(p.Code, modifier)
		}
		c.not = true
		modifier = ""
	}

	for _, v := range parts {
		if v == "" {
			continue
		}
		if err := in.alternative(c, p, modifier, v); err != nil {
			return err
		}
	}

	return nil
}

func (in *parsing) alternative(c *Clause, p *Param, modifier, v string) error {
	if err := in.charge(v); err != nil {
		return err
	}
	if p.Code == "_id" {
		return idValue(c, modifier, v)
	}

	switch p.Kind {
	case Token:
		return tokenProbes(c, p, modifier, v)
	case String:
		return stringProbes(c, p, modifier, v)
	case Date:
		return in.dateProbes(c, p, modifier, v)
	case Reference:
		return in.referenceProbes(c, p, modifier, v)

	case Quantity:
		return quantityProbes(c, p, modifier, v)
	case Number:
		return numberProbes(c, p, modifier, v)
	case Composite:
		return in.compositeProbes(c, p, modifier, v)
	}

	return uriProbes(c, p, modifier, v)
}

func idValue(c *Clause, modifier, v string) error {
	if modifier != "" {
		return noModifier("_id", modifier)
	}
	if v = unescape(v); ValidID(v) {
		c.addID(v)
	}
	return nil
}

func (c *Clause) addID(id string) {
	if c.ids == nil {
		c.ids = map[string]struct{}{}
	}
	c.ids[id] = struct{}{}
}

// missing asks whether the parameter has any value at all.
func missing(c *Clause, p *Param, v string) error {
	if v != "true" && v != "false" {
		return bad(":missing is true or false, not %s", printable(v))
	}
	c.not = v == "true"
	c.probes = append(c.probes, allOf(p))
	return nil
}

func allOf(p *Param) probe { return prefixed(p.key()) }

// prefixed covers all terms that begin so.
func prefixed(prefix []byte) probe {
	n := len(prefix)
	bounds := append(make([]byte, 0, 2*n+1), prefix...)
	return probe{
		from: bounds[:n:n],
		to:   appendAfter(bounds[n:], prefix),
	}
}

// one covers exactly one term.
func one(term []byte) probe {
	n := len(term) + 1
	bounds := append(make([]byte, 0, 2*n), term...)
	bounds = append(append(append(bounds, 0), term...), 1)
	return probe{
		from:  bounds[:n:n],
		to:    bounds[n:],
		exact: true,
	}
}

// after is the first key that does not begin with prefix.
func after(prefix []byte) []byte {
	return appendAfter(nil, prefix)
}

func appendAfter(empty, prefix []byte) []byte {
	end := append(empty, prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return append(end, 0xff)
}

func (p *Param) exactly(parts ...string) probe {
	k := p.key()
	for _, s := range parts {
		k = append(k, s...)
	}
	return one(k)
}

func (p *Param) beginning(parts ...string) probe {
	k := p.key()
	for _, s := range parts {
		k = append(k, s...)
	}
	return prefixed(k)
}

// splitEscaped splits at sep where no backslash is before it (R4 search
// 3.1.1.4.1.1). The parts keep their escapes.
func splitEscaped(s string, sep byte) []string {
	if strings.IndexByte(s, sep) < 0 {
		return []string{s}
	}

	var parts []string
	from := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case sep:
			parts = append(parts, s[from:i])
			from = i + 1
		}
	}

	return append(parts, s[min(from, len(s)):])
}

func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}

	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}

	return b.String()
}
