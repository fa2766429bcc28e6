package search

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"
)

// Ordered is what an Index may be besides: one whose Scan goes through the terms in
// the order of their bytes. A sorted page of it is found without all that matches.
type Ordered interface {
	// Last returns the greatest term of the keys in a range (see Index.Scan), nil
	// when there is none. ordered is false when Scan has no order in that range.
	Last(ctx context.Context, from, to []byte) (term []byte, ordered bool, err error)
}

// ordering goes through the resources of a type in the order of a sort, by the values of
// its first key.
type ordering struct {
	*Finder
	ordered Ordered
	result  *Result
	past    *sorted // the place behind which it begins; nil: at the first
	n       int     // how many are wanted
	asked   request
	hidden  []uint64

	judged int  // resources
	cut    bool // there were too many
}

// request is what a resource must satisfy.
type request struct {
	typ     string
	clauses []Clause
	filter  Filter
}

// requestOf joins the clauses of a query of one type with what its reader may find.
func requestOf(f *Finder, q *Query) request {
	rq := request{
		typ:     q.Types[0],
		clauses: f.resolveAll(q.Clauses),
		filter:  f.Search(q.Types[0]),
	}
	if len(rq.filter.any) == 1 {
		rq.clauses = append(rq.clauses, rq.filter.any[0]...)
		rq.filter = Everything()
	}
	return rq
}

// isOrdered reports whether the index goes through the values of a parameter in order.
func isOrdered(f *Finder, p *Param) bool {
	index, ok := f.Index.(Ordered)
	if !ok || f.err != nil {
		return false
	}

	all := allOf(p)
	_, ordered, err := index.Last(f.ctx, all.from, all.to)
	f.fail(err)
	return ordered && err == nil
}

// firstSorted is First in the order of a sort, where the index has that order.
func firstSorted(f *Finder, q *Query, position []byte, n int) (r *Result, ok bool, err error) {
	ordered, ok := f.Index.(Ordered)
	if !ok {
		return nil, false, nil
	}

	w := ordering{
		Finder:  f,
		ordered: ordered,
		result:  &Result{sort: q.Sort},
		n:       n,
		asked:   requestOf(f, q),
	}
	if w.asked.filter.Empty() {
		return w.result, true, f.err
	}

	if len(position) > 0 {
		if w.past, err = w.result.place(position); err != nil {
			return nil, false, err
		}
	}

	if !isOrdered(f, q.Sort[0].Param) {
		return nil, false, f.err
	}
	if _, _, narrow := f.candidates(w.asked.typ, w.asked.clauses); narrow || f.err != nil {
		return nil, false, f.err
	}

	w.hidden, w.asked.clauses = f.marked(w.asked.typ, w.asked.clauses, 64+8*n)
	if w.past == nil || w.past.keys[0] != "" {
		w.valued()
	}
	if w.goes() {
		w.valueless()
	}

	for i := range w.result.sorted {
		w.result.Docs = append(w.result.Docs, w.result.sorted[i].doc)
	}
	return w.result, !w.cut, f.err
}

// goes reports whether more resources are wanted.
func (w *ordering) goes() bool {
	return len(w.result.sorted) < w.n && !w.cut && w.err == nil
}

// last is Last of the index.
func (w *ordering) last(from, to []byte) (term []byte, ordered bool) {
	if w.err != nil {
		return nil, false
	}
	term, ordered, err := w.ordered.Last(w.ctx, from, to)
	w.fail(err)
	return term, ordered
}

// classes are the first bytes of the values of one kind, of which each has an order of
// its own; those of other kinds have one order.
var classes = map[Kind]string{
	Date:     string(shortSpan) + string(longSpan),
	Number:   string(point) + string(interval),
	Quantity: string(point) + string(interval),
}

// valued goes through the values of the first key, the nearest first.
func (w *ordering) valued() {
	s := w.result.sort[0]
	heads := []stretch{{probe: allOf(s.Param)}}
	if of := classes[s.Param.Kind]; of != "" {
		heads = heads[:0]
		for i := range of {
			heads = append(heads, stretch{probe: s.Param.beginning(of[i : i+1])})
		}
	}

	for i := range heads {
		if w.past != nil {
			heads[i].begin(s, w.past.keys[0])
		}
		w.advance(&heads[i], s)
	}

	for w.goes() {
		var next *stretch
		for i := range heads {
			h := &heads[i]
			if h.term != nil && (next == nil || s.before(h.value(s), next.value(s))) {
				next = h
			}
		}

		if next == nil {
			return
		}

		if w.judged++; s.Param.orders(next.term[2:]) {
			w.group(string(next.value(s)), one(next.term))
		}
		w.cut = w.cut || w.judged >= maxFirst && len(w.result.sorted) < w.n
		w.advance(next, s)
	}
}

// stretch is what is left of a range of the index, and the nearest term in it.
type stretch struct {
	probe
	term []byte // nil: none is left
}

func (h *stretch) value(s Sort) []byte { return sortable(s.Param.Kind, h.term[2:]) }

// begin leaves out what is before a value.
func (h *stretch) begin(s Sort, value string) {
	term := append(bytes.Clone(h.from), value...)
	if s.Descending {
		h.to = append(term, 1)
	} else {
		h.from = term
	}
}

// advance goes on to the next term of a stretch.
func (w *ordering) advance(h *stretch, s Sort) {
	if h.term != nil && s.Descending {
		h.to = append(h.term, 0)
	} else if h.term != nil {
		h.from = append(h.term, 1)
	}

	h.term = nil
	if s.Descending {
		term, _ := w.last(h.from, h.to)
		h.term = slices.Clip(bytes.Clone(term))
		return
	}
	w.scan(h.from, h.to, func(term []byte, _ uint64) bool {
		h.term = slices.Clip(bytes.Clone(term))
		return false
	})
}

// group goes through the resources whose first key is a value, all of which have a
// term. They come in the order of their numbers; by further keys, they are sorted here.
func (w *ordering) group(value string, with probe) {
	from := with.from
	whole := len(w.result.sort) > 1
	if !whole && w.past != nil && w.past.keys[0] == value {
		from = binary.BigEndian.AppendUint64(slices.Clip(from), w.past.doc+1)
	}

	begin := len(w.result.sorted)
	var docs []uint64 // as many as may still be wanted: rules decide about many at once
	w.scan(from, with.to, func(_ []byte, doc uint64) bool {
		if _, hides := slices.BinarySearch(w.hidden, doc); !hides {
			docs = append(docs, doc)
		}
		if !whole && len(w.result.sorted)+len(docs) >= w.n {
			w.take(value, docs)
			docs = docs[:0]
		}

		w.judged++
		w.cut = w.judged >= maxFirst && (whole || len(w.result.sorted) < w.n)
		return w.step() && !w.cut && (whole || len(w.result.sorted) < w.n)
	})

	w.take(value, docs)
	w.finish(begin)
}

// finish orders what was added from an index on, and leaves as many as are wanted.
func (w *ordering) finish(begin int) {
	if len(w.result.sort) > 1 {
		slices.SortFunc(w.result.sorted[begin:], func(a, b sorted) int { return w.result.compare(&a, &b) })
	}
	w.result.sorted = w.result.sorted[:min(len(w.result.sorted), w.n)]
}

// valueless goes through the resources without a value, which come last. Where they are
// few among many others, they are what the lists of the index leave.
func (w *ordering) valueless() {
	begin := len(w.result.sorted)
	ofType := Lookup(w.asked.typ, "_type").exactly()
	w.group("", ofType)
	if !w.cut {
		return
	}

	valued := allOf(w.result.sort[0].Param)
	valued.keep = w.result.sort[0].Param.orders
	left, _ := w.list(w.asked.typ, &Clause{probes: []probe{ofType}}, maxInt)
	others, _ := w.list(w.asked.typ, &Clause{probes: []probe{valued}}, maxInt)
	left = subtract(subtract(left, others), w.hidden)
	if len(left) > MaxSorted {
		return
	}

	whole := len(w.result.sort) > 1
	w.cut = false
	w.result.sorted = w.result.sorted[:begin]
	for some := range slices.Chunk(left, maxCandidates) {
		if whole || w.goes() {
			w.take("", some)
		}
	}
	w.finish(begin)
}

// take adds those of docs that match, that have the value as their first key, and that
// are behind the place where the page begins.
func (w *ordering) take(value string, docs []uint64) {
	var passed []sorted
	var numbers []uint64
	w.eachTerms(docs, func(doc uint64, id string, t Terms) bool {
		x := sorted{doc: doc}
		for _, s := range w.result.sort {
			x.keys = append(x.keys, s.key(t))
		}

		if x.keys[0] == value && (w.past == nil || w.result.compare(&x, w.past) > 0) &&
			allHold(w.asked.clauses, id, t) && w.asked.filter.Passes(id, t) {
			passed = append(passed, x)
			numbers = append(numbers, doc)
		}

		return w.step()
	})

	seen := w.seen(w.asked.typ, numbers)
	for _, x := range passed {
		if len(seen) > 0 && seen[0] == x.doc {
			w.result.sorted = append(w.result.sorted, x)
			seen = seen[1:]
		}
	}
}
