package search

import (
	"context"
	"errors"
	"slices"
)

// Index is what a search needs of a store: an index from terms to resources'
// numbers by ranges of terms, and back. It lists current resources only.
//
// An error of any method means that the answer is not known: a search that
// meets one fails, and never goes on as if there were nothing. A number that
// Scan or Find returned must be readable in the same state of the store: if it
// is not, the store is damaged, and the method returns that as its error.
// Every method stops with ctx when it has much to read.
type Index interface {
	// Scan calls f once with each term and resource whose key (the term, a
	// byte 0, the resource's number) is in the range from from up to, but not
	// including, to, until f returns false: those of one term in the order of
	// their numbers, and otherwise in any order. The term is valid only during
	// the call.
	Scan(ctx context.Context, from, to []byte, f func(term []byte, doc uint64) bool) error
	// Terms calls f with the id and terms of each of docs, in that order, until
	// f returns false. Callers ask for many at once, so that a store behind a
	// network needs maxCandidates round trips.
	Terms(ctx context.Context, docs []uint64, f func(doc uint64, id string, t Terms) bool) error
	// Find returns the number of a resource that is not deleted.
	Find(ctx context.Context, typ, id string) (doc uint64, ok bool, err error)
	// Identity returns a resource's type and id.
	Identity(ctx context.Context, doc uint64) (typ, id string, err error)
	// Body returns a resource as it is stored.
	Body(ctx context.Context, doc uint64) ([]byte, error)
}

// maxCandidates is up to how many candidates each is checked by its own terms; more are
// found by intersecting lists.
const maxCandidates = 2048

// maxSet bounds the resources that one link of a chain may lead to.
const maxSet = 50_000

// ErrTooCostly is a search that met a bound while it ran.
var ErrTooCostly = &Error{"too-costly", "the search leads to too many resources: narrow it"}

// Searcher is what an Index may be besides: one that does whole searches where its
// data are, as a database server can. A Finder asks it first, and searches by Scan
// and Terms when it does not take a query. Both must find the same: the Finder is
// the reference.
type Searcher interface {
	// Search returns the numbers of all resources of q.Types that satisfy
	// q.Clauses and pass the filter of their type, in any order; handled is false
	// when q has something that it does not search for.
	Search(ctx context.Context, q *Query, filter func(typ string) Filter) (docs []uint64, handled bool, err error)
}

// ErrDamaged is the cause of the error of a store that found stored bytes which
// cannot be what it once wrote.
var ErrDamaged = errors.New("stored data is damaged")

// Finder does searches over one state of an index for one reader.
type Finder struct {
	Index Index
	// Search and Read return which resources of a type the reader may find,
	// and may have included.
	Search, Read func(typ string) Filter
	// Visible, optional, returns those of the resources of a type that may be seen,
	// of those that passed a filter, in their order. It may change docs.
	Visible func(typ string, docs []uint64) ([]uint64, error)
	// Masked, optional, reports whether the reader must not learn where the references
	// of a parameter lead: includes do not follow it.
	Masked func(*Param) bool

	ctx   context.Context
	steps int
	err   error
}

// NewFinder returns a Finder that stops with ctx.
func NewFinder(ctx context.Context, ix Index, search, read func(typ string) Filter) *Finder {
	return &Finder{
		Index:  ix,
		Search: search,
		Read:   read,
		ctx:    ctx,
	}
}

// step counts one unit of work and reports whether to go on.
func (f *Finder) step() bool {
	if f.steps++; f.steps&0xfff == 0 && f.err == nil {
		f.err = f.ctx.Err()
	}
	return f.err == nil
}

// goesOn reports whether the search may go on, after work of unknown length.
func (f *Finder) goesOn() bool {
	f.fail(f.ctx.Err())
	return f.err == nil
}

// scan, terms, identity and find read the index; their error is kept in f.err
// and ends the search.
func (f *Finder) scan(from, to []byte, visit func(term []byte, doc uint64) bool) {
	if f.err == nil {
		f.fail(f.Index.Scan(f.ctx, from, to, visit))
	}
}

func (f *Finder) terms(doc uint64) (id string, t Terms) {
	f.eachTerms([]uint64{doc}, func(_ uint64, docID string, terms Terms) bool {
		id = docID
		t = terms
		return true
	})
	return id, t
}

func (f *Finder) eachTerms(docs []uint64, visit func(doc uint64, id string, t Terms) bool) {
	if f.err == nil {
		f.fail(f.Index.Terms(f.ctx, docs, visit))
	}
}

func (f *Finder) identity(doc uint64) (typ, id string) {
	if f.err != nil {
		return "", ""
	}
	typ, id, err := f.Index.Identity(f.ctx, doc)
	f.fail(err)
	return typ, id
}

func (f *Finder) find(typ, id string) (doc uint64, ok bool) {
	if f.err != nil {
		return 0, false
	}
	doc, ok, err := f.Index.Find(f.ctx, typ, id)
	f.fail(err)
	return doc, ok && err == nil
}

// visible reports whether what passed a filter may be seen.
func (f *Finder) visible(typ string, doc uint64) bool {
	if f.Visible == nil || f.err != nil {
		return f.err == nil
	}
	seen, err := f.Visible(typ, []uint64{doc})
	f.fail(err)
	return len(seen) > 0 && err == nil
}

// seen returns those of docs that may be seen, of what passed a filter.
func (f *Finder) seen(typ string, docs []uint64) []uint64 {
	if f.Visible == nil || len(docs) == 0 || f.err != nil {
		return docs
	}
	docs, err := f.Visible(typ, docs)
	f.fail(err)
	return docs
}

// fail keeps the first error.
func (f *Finder) fail(err error) {
	if f.err == nil {
		f.err = err
	}
}

// Result is all that matched, in the order asked for.
type Result struct {
	Docs   []uint64
	sorted []sorted // those of Docs, when the query sorts
	sort   []Sort
}

// Find returns every resource that matches and may be found. Its error is the
// context's, the index's or an *Error.
func (f *Finder) Find(q *Query) (*Result, error) {
	if f.err = f.ctx.Err(); f.err != nil {
		return nil, f.err
	}

	r := &Result{sort: q.Sort}
	if docs, handled := f.pushDown(q); handled {
		r.Docs = docs
	} else {
		clauses := f.resolveAll(q.Clauses)
		for _, typ := range q.Types {
			r.Docs = append(r.Docs, f.matching(typ, clauses, f.Search(typ))...)
		}
	}

	if f.err != nil {
		return nil, f.err
	}

	slices.Sort(r.Docs)
	f.order(r)
	return r, f.err
}

// Count returns how many resources Find would return.
func Count(f *Finder, q *Query) (int, error) {
	unsorted := *q
	unsorted.Sort = nil
	r, err := f.Find(&unsorted)
	if err != nil {
		return 0, err
	}
	return len(r.Docs), nil
}

// pushDown has the index do the search itself, if it can.
func (f *Finder) pushDown(q *Query) (docs []uint64, handled bool) {
	s, ok := f.Index.(Searcher)
	if !ok {
		return nil, false
	}

	docs, handled, err := s.Search(f.ctx, q, f.Search)
	f.fail(err)
	if err != nil || !handled {
		return nil, handled
	}

	if f.Visible == nil {
		return docs, true
	}
	byType := map[string][]uint64{}
	for _, doc := range docs {
		typ, _ := f.identity(doc)
		byType[typ] = append(byType[typ], doc)
	}

	var seen []uint64
	for typ, docs := range byType {
		seen = append(seen, f.seen(typ, docs)...)
	}
	return seen, true
}

// matching returns the resources of typ that satisfy clauses and filter, in the
// order of their numbers.
func (f *Finder) matching(typ string, clauses []Clause, filter Filter) []uint64 {
	clauses, read := divide(clauses)
	return f.seen(typ, f.reading(typ, f.passing(typ, clauses, filter), read))
}

func (f *Finder) passing(typ string, clauses []Clause, filter Filter) []uint64 {
	if filter.Empty() || f.err != nil {
		return nil
	}

	if len(filter.any) == 1 {
		clauses = append(clauses[:len(clauses):len(clauses)], filter.any[0]...)
		filter = Everything()
	}
	if docs, by, ok := f.candidates(typ, clauses); ok {
		return f.satisfying(typ, docs, append(clauses[:by:by], clauses[by+1:]...), filter)
	}

	docs := f.all(typ, clauses)
	if filter.all {
		return docs
	}

	var seen []uint64
	for _, any := range filter.any {
		seen = union(seen, f.all(typ, any))
	}

	return intersect(docs, seen)
}

// candidates looks for a clause that maxCandidates resources satisfy, and lists them.
func (f *Finder) candidates(
	typ string, clauses []Clause,
) (best []uint64, by int, found bool) {
	for i := range clauses {
		c := &clauses[i]
		if c.not || !c.narrow() {
			continue
		}

		docs, whole := f.list(typ, c, maxCandidates)
		if whole && (!found || len(docs) < len(best)) {
			best = docs
			by = i
			found = true
		}
		if found && len(best) < 64 {
			break
		}
	}

	return best, by, found
}

// narrow reports whether reading the clause's list costs no more than the list
// is long.
func (c *Clause) narrow() bool {
	for i := range c.probes {
		if !c.probes[i].exact {
			return false
		}
	}

	n := 0
	for i := range c.sets {
		n += len(c.sets[i].values)
	}

	return n <= maxCandidates
}

// list reads the resources that satisfy the positive of a clause, in order; it
// stops over limit: whole is false then.
func (f *Finder) list(typ string, c *Clause, limit int) (docs []uint64, whole bool) {
	whole = true
	add := func(doc uint64) bool {
		if whole = len(docs) < limit; whole {
			docs = append(docs, doc)
		}
		return whole && f.step()
	}

	for id := range c.ids {
		if doc, ok := f.find(typ, id); ok && !add(doc) {
			return nil, false
		}
	}

	for i := range c.probes {
		p := &c.probes[i]
		if tables().byID[uint16(p.from[0])<<8|uint16(p.from[1])].Type != typ {
			continue
		}
		f.scan(p.from, p.to, func(term []byte, doc uint64) bool {
			if p.keep != nil && !p.keep(term[2:]) {
				return f.step()
			}
			return add(doc)
		})
	}

	for i := range c.sets {
		if c.sets[i].param.Type == typ {
			f.listSet(&c.sets[i], add)
		}
	}

	slices.Sort(docs)
	return slices.Compact(docs), whole
}

func (f *Finder) listSet(s *valueSet, add func(uint64) bool) {
	if len(s.values) > maxCandidates {
		all := allOf(s.param)
		f.scan(all.from, all.to, func(term []byte, doc uint64) bool {
			if _, ok := s.values[string(term[2:])]; ok {
				return add(doc)
			}
			return f.step()
		})

		return
	}

	for v := range s.values {
		pr := s.param.exactly(v)
		f.scan(pr.from, pr.to, func(_ []byte, doc uint64) bool {
			return add(doc)
		})
	}
}

// satisfying returns the candidates that satisfy the clauses and pass the filter.
func (f *Finder) satisfying(
	typ string, docs []uint64, clauses []Clause, filter Filter,
) []uint64 {
	hidden, clauses := f.marked(typ, clauses, 64+len(docs))
	docs = subtract(docs, hidden)
	return f.holding(docs, clauses, filter)
}

// holding returns those of docs that satisfy the clauses and pass the filter.
func (f *Finder) holding(docs []uint64, clauses []Clause, filter Filter) []uint64 {
	if len(clauses) == 0 && filter.all {
		return docs
	}

	kept := docs[:0]
	f.eachTerms(docs, func(doc uint64, id string, terms Terms) bool {
		if allHold(clauses, id, terms) && filter.Passes(id, terms) {
			kept = append(kept, doc)
		}
		return f.step()
	})

	return kept
}

// marked lists the resources that marks hide, as long as the list is short: it costs
// less than the terms of each candidate. It returns the clauses that are left to be
// checked.
func (f *Finder) marked(typ string, clauses []Clause, limit int) (hidden []uint64, rest []Clause) {
	if !slices.ContainsFunc(clauses, func(c Clause) bool { return c.marks }) {
		return nil, clauses
	}

	for _, c := range clauses {
		if !c.marks {
			rest = append(rest, c)
			continue
		}

		if docs, whole := f.list(typ, &c, limit); whole {
			hidden = union(hidden, docs)
		} else {
			rest = append(rest, c)
		}
	}

	return hidden, rest
}

// all finds the resources that satisfy all clauses by their whole lists.
func (f *Finder) all(typ string, clauses []Clause) []uint64 {
	var docs []uint64
	have := false
	for i := range clauses {
		if c := &clauses[i]; !c.not {
			next, _ := f.list(typ, c, maxInt)
			if have {
				next = intersect(docs, next)
			}
			docs = next
			have = true
		}
	}

	if !have {
		docs, _ = f.list(
			typ,
			&Clause{probes: []probe{allOf(Lookup(typ, "_type"))}},
			maxInt,
		)
	}

	for i := range clauses {
		if c := &clauses[i]; c.not {
			without, _ := f.list(typ, c, maxInt)
			docs = subtract(docs, without)
		}
	}

	return docs
}

const maxInt = int(^uint(0) >> 1)

func intersect(a, b []uint64) []uint64 {
	var out []uint64
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0] < b[0]:
			a = a[1:]
		case a[0] > b[0]:
			b = b[1:]
		default:
			out = append(out, a[0])
			a, b = a[1:], b[1:]
		}
	}

	return out
}

func subtract(a, b []uint64) []uint64 {
	if len(b) == 0 {
		return a
	}

	out := make([]uint64, 0, len(a))
	for _, x := range a {
		for len(b) > 0 && b[0] < x {
			b = b[1:]
		}

		if len(b) == 0 || b[0] != x {
			out = append(out, x)
		}
	}

	return out
}

func union(a, b []uint64) []uint64 {
	out := append(append(make([]uint64, 0, len(a)+len(b)), a...), b...)
	slices.Sort(out)
	return slices.Compact(out)
}
