package search

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// maxFirst bounds how many candidates First checks before it leaves the search
// to Find.
const maxFirst = 2 * maxCandidates

// First returns the first n resources after a position (see Result.Position; nil for
// the beginning) that match and may be found, in the order asked for, without listing
// all that match. ok is false when that cannot be done, or would not be less work: then
// Find is asked.
func (f *Finder) First(q *Query, position []byte, n int) (r *Result, ok bool, err error) {
	if f.err = f.ctx.Err(); f.err != nil || len(q.Types) != 1 {
		return nil, false, f.err
	}
	if len(q.Sort) > 0 {
		if !plain(q.Clauses) {
			return nil, false, nil
		}
		return firstSorted(f, q, position, n)
	}

	alone, chains, ok := followersOf(f, q.Clauses)
	if !ok {
		return nil, false, f.err
	}

	after := uint64(0)
	if len(position) == 8 {
		after = binary.BigEndian.Uint64(position)
	}

	of := requestOf(f, &Query{
		Types:   q.Types,
		Clauses: alone,
	})
	typ, filter := of.typ, of.filter
	if filter.Empty() {
		return &Result{}, true, f.err
	}

	lead, rest := leading(typ, of.clauses)
	hidden, rest := f.marked(typ, rest, 64+8*n)
	r, judged := &Result{}, 0
	cut := false
	var asked []uint64 // as many as may still be wanted: rules decide about many at once
	ask := func() {
		docs := f.holding(asked, rest, filter)
		for _, c := range chains {
			docs = c.keep(docs)
			cut = cut || c.tired()
		}
		r.Docs = append(r.Docs, f.seen(typ, docs)...)
		asked = asked[:0]
	}
	f.scan(binary.BigEndian.AppendUint64(lead.from[:len(lead.from):len(lead.from)], after+1),
		lead.to, func(_ []byte, doc uint64) bool {
			if _, hides := slices.BinarySearch(hidden, doc); !hides {
				asked = append(asked, doc)
			}
			if len(r.Docs)+len(asked) >= n {
				ask()
			}
			judged++

			return len(r.Docs) < n && judged < maxFirst && !cut && f.step()
		})

	ask()

	return r, !cut && (len(r.Docs) >= n || judged < maxFirst), f.err
}

// counted is how many resources Tally has in memory at a time.
const counted = maxFirst

// Tally returns how many resources of a whole type may be found. They are counted a few
// at a time. ok is false for other queries, and where the index has no order: then Count
// is asked.
func Tally(f *Finder, q *Query) (n int, ok bool, err error) {
	if f.err = f.ctx.Err(); f.err != nil || len(q.Types) != 1 || len(q.Clauses) > 0 {
		return 0, false, f.err
	}

	of := requestOf(f, q)
	if of.filter.Empty() {
		return 0, true, nil
	}

	lead := Lookup(of.typ, "_type")
	if !of.filter.all || !isOrdered(f, lead) {
		return 0, false, f.err
	}

	hidden, rest := f.marked(of.typ, of.clauses, maxListed)
	if len(rest) > 0 {
		return 0, false, f.err
	}

	docs := make([]uint64, 0, counted)
	count := func() {
		n += len(f.seen(of.typ, docs))
		docs = docs[:0]
	}
	all := lead.exactly()
	f.scan(all.from, all.to, func(_ []byte, doc uint64) bool {
		if _, hides := slices.BinarySearch(hidden, doc); !hides {
			docs = append(docs, doc)
		}
		if len(docs) == counted {
			count()
		}
		return f.step()
	})

	count()

	return n, f.err == nil, f.err
}

func plain(clauses []Clause) bool {
	for i := range clauses {
		if clauses[i].chain != nil || clauses[i].has != nil || clauses[i].test != nil {
			return false
		}
	}
	return true
}

// leading picks the term whose resources are gone through: that of a clause
// that asks for one term, or the type's. The rest is still to be checked.
func leading(typ string, clauses []Clause) (lead probe, rest []Clause) {
	for i := range clauses {
		c := &clauses[i]
		if len(c.probes) == 1 && c.probes[0].single() && !c.not && len(c.ids)+len(c.sets) == 0 {
			rest = append(append(rest, clauses[:i]...), clauses[i+1:]...)
			return c.probes[0], rest
		}
	}
	return Lookup(typ, "_type").exactly(), clauses
}

// single reports whether the stretch is that of one whole term (see one), so
// that its resources come in the order of their numbers.
func (p *probe) single() bool {
	n := len(p.from) - 1
	return p.keep == nil && len(p.to) == n+1 && p.from[n] == 0 && p.to[n] == 1 &&
		bytes.Equal(p.from[:n], p.to[:n])
}

// maxListed bounds the list of one clause that Few reads where no clause is narrow.
const maxListed = 50_000

// Few returns the resources of typ that satisfy all clauses and may be found, in the
// order of their numbers, if they can be found with bounded work, however many
// resources there are. few is false when they cannot: no clause alone, and no two
// together, leave few enough. Clauses must be plain (see Plain).
func (f *Finder) Few(typ string, clauses []Clause) (docs []uint64, few bool, err error) {
	if f.err = f.ctx.Err(); f.err != nil {
		return nil, false, f.err
	}

	filter := f.Search(typ)
	if filter.Empty() {
		return nil, true, nil
	}

	docs, by, few := f.candidates(typ, clauses)
	if few {
		docs = f.satisfying(typ, docs, append(clauses[:by:by], clauses[by+1:]...), filter)
	} else if docs, few = f.common(typ, clauses); few {
		docs = f.satisfying(typ, docs, clauses, filter)
	}

	if !few {
		return nil, false, f.err
	}

	return f.seen(typ, docs), true, f.err
}

// common intersects the clauses' lists, as far as these are bounded.
func (f *Finder) common(typ string, clauses []Clause) (docs []uint64, few bool) {
	have := false
	for i := range clauses {
		next, whole := f.list(typ, &clauses[i], maxListed)
		if !whole {
			continue
		}

		if have {
			next = intersect(docs, next)
		}
		docs = next
		have = true
	}

	return docs, have && len(docs) <= maxCandidates
}

// Fold returns text as searches compare it: without regard to case, accents,
// punctuation and how white space is written. Words are parted by one space.
func Fold(text string) string {
	return fold(cut(text, maxFolded)).spaced
}
