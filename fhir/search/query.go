package search

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Bounds on one query. What is over them is refused as too costly.
const (
	MaxCount      = 1000 // resources on one page
	DefaultCount  = 20
	maxParams     = 100
	maxValues     = 1000 // alternatives in one parameter
	maxChain      = 4    // links of a chain
	maxIncludes   = 20
	maxSorts      = 6
	maxParents    = 100 // URLs above one
	maxQueryBytes = 64 << 10
)

// Error is a query that cannot be served. Code is an OperationOutcome issue
// code: value, not-supported or too-costly.
type Error struct{ Code, Detail string }

func (e *Error) Error() string { return e.Detail }

func bad(format string, args ...any) error { return &Error{"value", fmt.Sprintf(format, args...)} }

// Pair is one name=value of a query string, decoded, in the order given.
type Pair struct{ Name, Value string }

// Total is what `_total` asks for. Bundle.total is accurate when nothing, or an
// estimate, is asked for; with none it is left out, and broad searches in no
// particular order stop at the end of their page.
type Total string

// Summary is what `_summary` asks for; "" is not asked.
type Summary string

// Sort is one key of `_sort`.
type Sort struct {
	Param      *Param
	Descending bool
}

// Include is one `_include` or `_revinclude`.
type Include struct {
	Reverse, Iterate bool
	Source           string // type that holds the reference
	Param            *Param // nil for "*": every reference of Source
	Target           string // only this type; "" for all
}

// Query is a search as it will be done.
type Query struct {
	Types    []string // the type searched; several for a search of the whole system
	Clauses  []Clause // all must hold
	Sort     []Sort
	Includes []Include
	Count    int
	Total    Total
	Summary  Summary
	Elements []string
	Used     []Pair   // what was understood, in order: the self link
	Ignored  []string // what was not, with reasons
}

// Clause is one parameter with its modifier and alternatives.
type Clause struct {
	probes []probe
	set    map[string]struct{} // values of the parameter setID, besides the probes
	setID  uint16
	ids    []string // resources by id (_id)
	byID   bool
	not    bool
	chain  []link
	has    *has
	said   []said // any of them; nothing else then
	never  bool
}

// link is one way in which a chain goes on: the reference by which it leaves,
// and what must hold of the resources of Type at its end.
type link struct {
	param *Param
	typ   string
	then  Clause
}

// has is a reverse chain: resources of param.Type for which then holds point
// here by param.
type has struct {
	param *Param
	typ   string // the type pointed at
	then  Clause
}

// errUnknown marks a parameter that is not served: lenient handling leaves it
// out.
type errUnknown struct{ detail string }

func (e *errUnknown) Error() string { return e.detail }

func unknown(format string, args ...any) error { return &errUnknown{fmt.Sprintf(format, args...)} }

// noModifier refuses a modifier in lenient handling too: without it, something
// else is asked (R4 search, "Modifiers").
func noModifier(code, modifier string) error {
	return &Error{"not-supported", fmt.Sprintf("%s has no modifier %s", code, printable(modifier))}
}

// Parse reads the parameters of a search for one of types (several: common
// parameters only). With strict, what is not understood is refused; otherwise
// it is left out and told in Ignored. Errors are *Error.
func (x *Extractor) Parse(types []string, pairs []Pair, strict bool) (*Query, error) {
	q := &Query{Types: types, Count: DefaultCount}
	if len(pairs) > maxParams {
		return nil, &Error{"too-costly", fmt.Sprintf("more than %d parameters", maxParams)}
	}

	size := 0
	for _, p := range pairs {
		if size += len(p.Name) + len(p.Value); size > maxQueryBytes {
			return nil, &Error{"too-costly", fmt.Sprintf("a query of more than %d bytes", maxQueryBytes)}
		}

		err := x.parsePair(q, p)
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

func (x *Extractor) parsePair(q *Query, p Pair) error {
	name, modifier, _ := strings.Cut(p.Name, ":")
	if control, ok := controls[name]; ok {
		if modifier != "" && !strings.HasSuffix(name, "include") {
			return unknown("%s has no modifier %s", name, printable(modifier))
		}
		return control(q, modifier, p.Value)
	}
	if p.Value == "" {
		return unknown("parameter %s is empty", printable(p.Name))
	}

	c, err := x.clause(q.Types, p.Name, p.Value, 0)
	var u *errUnknown
	switch {
	case err == nil:
		q.Clauses = append(q.Clauses, c)
	case len(q.Types) > 1 && errors.As(err, &u):
		// Left out, it would give all resources of all types.
		return &Error{
			"not-supported",
			fmt.Sprintf("a search of several types has common parameters only, and %s is none", printable(p.Name)),
		}
	}

	return err
}

// printable bounds what of a request's own text is told back.
func printable(s string) string {
	s = strconv.QuoteToASCII(s)
	if len(s) > 60 {
		return s[:60] + `..."`
	}
	return s
}

// controls are the parameters that shape the result rather than filter it.
var controls = map[string]func(q *Query, modifier, value string) error{
	"_sort":       parseSort,
	"_count":      parseCount,
	"_total":      parseTotal,
	"_summary":    parseSummary,
	"_elements":   parseElements,
	"_include":    func(q *Query, m, v string) error { return parseInclude(q, m, v, false) },
	"_revinclude": func(q *Query, m, v string) error { return parseInclude(q, m, v, true) },
	"_format":     ignoreControl,
	"_pretty":     ignoreControl,
	"_type":       ignoreControl,
}

func ignoreControl(*Query, string, string) error { return nil }

// SetCount reads a value of _count.
func SetCount(q *Query, v string) error { return parseCount(q, "", v) }

// SetShape reads a value of _summary or _elements.
func SetShape(q *Query, name, v string) error { return controls[name](q, "", v) }

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

func parseSort(q *Query, _, v string) error {
	keys := strings.Split(v, ",")
	if len(q.Sort)+len(keys) > maxSorts {
		return &Error{"too-costly", fmt.Sprintf("more than %d sort keys", maxSorts)}
	}

	var all []Sort // all keys or none: the self link has the parameter or not
	for _, k := range keys {
		code, down := strings.CutPrefix(k, "-")
		p := Lookup(q.Types[0], code)
		if p == nil || p.Kind == Composite || len(q.Types) > 1 {
			return unknown("cannot sort by %s", printable(k))
		}
		all = append(all, Sort{p, down})
	}

	q.Sort = append(q.Sort, all...)
	return nil
}

func parseInclude(q *Query, modifier, v string, reverse bool) error {
	if modifier != "" && modifier != "iterate" && modifier != "recurse" {
		return unknown("_include has no modifier %s", printable(modifier))
	}
	if len(q.Includes) >= maxIncludes {
		return &Error{"too-costly", fmt.Sprintf("more than %d includes", maxIncludes)}
	}

	inc := Include{Reverse: reverse, Iterate: modifier != ""}
	source, rest, _ := strings.Cut(v, ":")
	code, target, _ := strings.Cut(rest, ":")
	if v == "*" && !reverse && len(q.Types) == 1 {
		source, code = q.Types[0], "*"
	}
	if !IsType(source) || target != "" && !IsType(target) {
		return unknown("cannot include %s", printable(v))
	}

	inc.Source, inc.Target = source, target
	if code != "*" {
		inc.Param = Lookup(source, code)
		if inc.Param == nil || inc.Param.Kind != Reference {
			return unknown("%s is not a reference to include by", printable(v))
		}
	}

	q.Includes = append(q.Includes, inc)
	return nil
}
