package search

import (
	"fmt"
	"strings"

	"fhirdest.example/fhir/tree"
)

// Bounds on one query. What is over them is refused as too costly.
const (
	MaxCount      = 1000 // resources on one page
	DefaultCount  = 20
	maxParams     = 100
	maxValues     = 1000   // alternatives in one parameter
	maxChain      = 4      // links of a chain
	maxLinks      = 200    // links of all chains, each type that a link may lead to being one
	maxWork       = 20_000 // see parsing.charge
	maxIncludes   = 20
	maxSorts      = 6
	maxParents    = 100 // URLs above one
	maxQueryBytes = 64 << 10
)

// Error is a query that cannot be served. Code is an OperationOutcome issue
// code: value, not-supported, too-costly, multiple-matches or Forbidden.
type Error struct{ Code, Detail string }

// Forbidden is the Code of a query that leads through a type which the reader
// may not search.
const Forbidden = "forbidden"

func (e *Error) Error() string { return e.Detail }

func tooCostly(format string, args ...any) error {
	return &Error{"too-costly", fmt.Sprintf(format, args...)}
}

func bad(format string, args ...any) error {
	return &Error{"value", fmt.Sprintf(format, args...)}
}

// Pair is one name=value of a query string, decoded, in the order given.
type Pair struct{ Name, Value string }

// Total is what `_total` asks for. Bundle.total is accurate when nothing, or an
// estimate, is asked for; with none it is left out, and broad searches stop at
// the end of their page where the index has the order asked for.
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

// Clause is one parameter with its modifier and alternatives. A resource matches
// if it has any of the ids, probes or sets; or else has any of the maybes and
// passes the test, which needs the resource itself. not turns that round; a
// clause with a test is never turned round.
type Clause struct {
	ids    map[string]struct{} // resources by id (_id)
	probes []probe
	sets   []valueSet
	maybe  []probe
	test   test
	not    bool
	marks  bool // asks for marks: see Unmarked

	chain []link // any of them; nothing else then, until it is resolved
	has   *has   // likewise
	bare  []bare
}

// test reports whether a resource of typ, in a container or its own, has what a
// clause asks for.
type test func(typ string, root *tree.Value, within *container) bool

// valueSet is many values of one parameter.
type valueSet struct {
	param  *Param
	values map[string]struct{}
}

func (s *valueSet) add(parts ...string) {
	s.values[strings.Join(parts, "")] = struct{}{}
}

// link is one way in which a chain goes on: the reference by which it leaves,
// and what must hold of the resources of type typ at its end.
type link struct {
	param *Param
	typ   string
	then  Clause
	bases Bases
}

// has is a reverse chain: resources of param.Type for which then holds refer to
// one of typ by param.
type has struct {
	param *Param
	typ   string
	then  Clause
}

// bare is an id without a type in a reference parameter. Where it is that of
// resources of several types, it is not clear which is meant.
type bare struct {
	param *Param
	id    string
}

// errUnknown marks a parameter that is not served: lenient handling leaves it
// out.
type errUnknown struct{ detail string }

func (e *errUnknown) Error() string { return e.detail }

func unknown(format string, args ...any) error {
	return &errUnknown{fmt.Sprintf(format, args...)}
}

// noModifier refuses a modifier in lenient handling too: without it, something
// else is asked (R4 search, "Modifiers").
func noModifier(code, modifier string) error {
	return &Error{
		"not-supported",
		fmt.Sprintf("%s has no modifier %s", code, printable(modifier)),
	}
}
