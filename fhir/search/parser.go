package search

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Parser parses searches.
type Parser struct {
	Bases Bases
	// Now is the clock by which "about a date" is measured; nil is 1970.
	Now func() time.Time
	// Masked, optional, reports whether the reader must not learn what a parameter is
	// answered from. Such a parameter is handled as one that is not served.
	Masked func(*Param) bool
}

// Parse parses the parameters of a search for one of types (several: common
// parameters only). With strict, what is not understood is refused; otherwise
// it is left out and listed in Query.Ignored. Errors are *Error or ctx's.
func (ps *Parser) Parse(
	ctx context.Context, types []string, pairs []Pair, strict bool,
) (*Query, error) {
	q := &Query{
		Types: types,
		Count: DefaultCount,
	}
	if len(pairs) > maxParams {
		return nil, tooCostly("more than %d parameters", maxParams)
	}

	size := 0
	in := ps.begin(ctx)
	for _, p := range pairs {
		if size += len(p.Name) + len(p.Value); size > maxQueryBytes {
			return nil, tooCostly("a query of more than %d bytes", maxQueryBytes)
		}

		err := in.parsePair(q, p)
		var u *errUnknown
		switch {
		case errors.As(err, &u) && strict:
			return nil, &Error{"not-supported", u.detail}
		case errors.As(err, &u):
			q.Ignored = append(q.Ignored, u.detail)
		case err != nil:
			return nil, err
		default:
			q.Used = append(q.Used, p)
		}
	}

	return q, nil
}

// Plain parses name=value as a clause that one resource's terms alone decide.
// The error of any other, such as a chain, gives the reason.
func (ps *Parser) Plain(typ, name, value string) (Clause, error) {
	c, err := ps.begin(context.Background()).clause([]string{typ}, name, value, 0)
	if err == nil && (c.chain != nil || c.has != nil || c.test != nil) {
		return c, unknown("a chain or a text cannot restrict a scope")
	}
	return c, err
}

// parsing is the state of one Parse. A chain through a reference to several
// types becomes a clause for each of them, so that a short query may be a tree
// of many clauses: they are counted, over all parameters, as they are made.
type parsing struct {
	ctx   context.Context
	bases Bases
	now   func() time.Time

	masked func(*Param) bool

	links int // of chains, so far
	work  int // see charge
}

func (ps *Parser) begin(ctx context.Context) *parsing {
	return &parsing{
		ctx:   ctx,
		bases: ps.Bases,
		now:   ps.Now,

		masked: ps.Masked,
	}
}

// charge counts an alternative: one unit, and one more for every 64 bytes of
// its value.
func (in *parsing) charge(v string) error {
	if in.work += 1 + len(v)/64; in.work > maxWork {
		return tooCostly("the parameters have too many alternatives together")
	}
	return in.ctx.Err()
}

// link counts a link of a chain to one type.
func (in *parsing) link() error {
	if in.links++; in.links > maxLinks {
		return tooCostly("the chains have more than %d links together: name the type of each reference, "+
			"as in subject:Patient.name", maxLinks)
	}
	return in.ctx.Err()
}

func (in *parsing) parsePair(q *Query, p Pair) error {
	name, modifier, _ := strings.Cut(p.Name, ":")
	if name == "_sort" && modifier == "" {
		return in.sort(q, p.Value)
	}
	if name == "_include" || name == "_revinclude" {
		return in.include(q, modifier, p.Value, name == "_revinclude")
	}
	if control, ok := controls[name]; ok {
		if modifier != "" {
			return unknown("%s has no modifier %s", name, printable(modifier))
		}
		return control(q, modifier, p.Value)
	}
	if p.Value == "" {
		return unknown("parameter %s is empty", printable(p.Name))
	}

	c, err := in.clause(q.Types, p.Name, p.Value, 0)
	var u *errUnknown
	switch {
	case err == nil:
		q.Clauses = append(q.Clauses, c)
	case len(q.Types) > 1 && errors.As(err, &u):
		// Left out, it would give all resources of all types.
		return &Error{
			"not-supported",
			fmt.Sprintf("a search of several types has common parameters only, and %s is none",
				printable(p.Name)),
		}
	}

	return err
}

// printable bounds what of a request's own text an answer repeats.
func printable(s string) string {
	s = strconv.QuoteToASCII(s)
	if len(s) > 60 {
		return s[:60] + `..."`
	}
	return s
}

// controls are the parameters that shape the result rather than filter it.
var controls = map[string]func(q *Query, modifier, value string) error{
	"_count":    parseCount,
	"_total":    parseTotal,
	"_summary":  parseSummary,
	"_elements": parseElements,
	"_format":   ignoreControl,
	"_pretty":   ignoreControl,
	"_type":     ignoreControl,
	"_query":    refuseQuery,
}

func ignoreControl(*Query, string, string) error {
	return nil
}

// refuseQuery refuses a named query: none is served, and leaving it out would
// do another search (R4 search 3.1.1.7).
func refuseQuery(_ *Query, _, v string) error {
	return &Error{"not-supported", fmt.Sprintf("there is no named query %s", printable(v))}
}

// SetCount reads a value of _count.
func SetCount(q *Query, v string) error {
	return parseCount(q, "", v)
}

// SetShape reads a value of _summary or _elements.
func SetShape(q *Query, name, v string) error {
	return controls[name](q, "", v)
}

func parseCount(q *Query, _, v string) error {
	n, err := strconv.Atoi(v)
	if err != nil && !errors.Is(err, strconv.ErrRange) || n < 0 || v == "" || v[0] == '+' {
		return bad("_count %s is not a whole number", printable(v))
	}

	if n == 0 && err == nil {
		q.Summary = "count"
	}
	q.Count = min(n, MaxCount)
	return nil
}

func parseTotal(q *Query, _, v string) error {
	switch v {
	case "none", "estimate", "accurate":
		q.Total = Total(v)
		return nil
	}
	return bad("_total %s is none of none, estimate, accurate", printable(v))
}

func parseSummary(q *Query, _, v string) error {
	switch v {
	case "true", "text", "data", "count", "false":
		q.Summary = Summary(v)
		return nil
	}
	return bad("_summary %s is none of true, text, data, count, false", printable(v))
}

func parseElements(q *Query, _, v string) error {
	for _, e := range strings.Split(v, ",") {
		typ, name, dotted := strings.Cut(e, ".")
		if !dotted {
			name = typ
		} else if len(q.Types) != 1 || typ != q.Types[0] {
			continue
		}

		if name != "" && len(q.Elements) < maxParams {
			q.Elements = append(q.Elements, name)
		}
	}

	return nil
}

// served returns the parameter of a type with a code, nil if there is none for the
// reader.
func (in *parsing) served(typ, code string) *Param {
	p := Lookup(typ, code)
	if p == nil || hidden(code) || in.masked != nil && in.masked(p) {
		return nil
	}
	return p
}

func (in *parsing) sort(q *Query, v string) error {
	keys := strings.Split(v, ",")
	if len(q.Sort)+len(keys) > maxSorts {
		return tooCostly("more than %d sort keys", maxSorts)
	}

	var all []Sort // all keys or none: the self link has the parameter or not
	for _, k := range keys {
		code, down := strings.CutPrefix(k, "-")
		p := in.served(q.Types[0], code)
		if p == nil || p.Kind == Composite || len(q.Types) > 1 {
			return unknown("cannot sort by %s", printable(k))
		}
		all = append(all, Sort{p, down})
	}

	q.Sort = append(q.Sort, all...)
	return nil
}

func (in *parsing) include(q *Query, modifier, v string, reverse bool) error {
	if modifier != "" && modifier != "iterate" && modifier != "recurse" {
		return unknown("_include has no modifier %s", printable(modifier))
	}
	if len(q.Includes) >= maxIncludes {
		return tooCostly("more than %d includes", maxIncludes)
	}

	inc := Include{
		Reverse: reverse,
		Iterate: modifier != "",
	}
	source, rest, _ := strings.Cut(v, ":")
	code, target, _ := strings.Cut(rest, ":")
	if v == "*" && !reverse && len(q.Types) == 1 {
		source, code = q.Types[0], "*"
	}
	if !IsType(source) || target != "" && !IsType(target) {
		return unknown("cannot include %s", printable(v))
	}

	inc.Source = source
	inc.Target = target
	if code != "*" {
		inc.Param = in.served(source, code)
		if inc.Param == nil || inc.Param.Kind != Reference {
			return unknown("%s is not a reference to include by", printable(v))
		}
	}

	q.Includes = append(q.Includes, inc)
	return nil
}
