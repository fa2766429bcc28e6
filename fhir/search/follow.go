package search

import "slices"

// A chain that ends at very many resources is not resolved for a page: First asks of
// each resource that may be on the page where its own references lead.

const (
	// maxFollowed bounds the resources at the other ends of references that First reads.
	maxFollowed = 4 * maxCandidates
	// maxNear is the number of resources at the end of a chain up to which it is resolved.
	maxNear = 64
	// maxLook bounds the keys that are read to know whether there are more than maxNear.
	maxLook = 1024
)

// follower is a chain or a _has that is not resolved.
type follower interface {
	// keep returns those of docs for which it holds. It may change docs.
	keep(docs []uint64) []uint64
	// tired reports whether it read so much that its answers do not count.
	tired() bool
}

// followersOf divides the clauses of a query into those that look at a resource alone and
// those that are followed. ok is false when a clause is neither: then the query must be
// resolved.
func followersOf(f *Finder, clauses []Clause) (alone []Clause, all []follower, ok bool) {
	if plain(clauses) {
		return clauses, nil, true
	}

	for i := range clauses {
		c := &clauses[i]
		var next follower
		switch {
		case c.test != nil:
			return nil, nil, false
		case c.chain != nil:
			next = followChain(f, c.chain)
		case c.has != nil:
			next = followHas(f, c.has)
		default:
			alone = append(alone, *c)
			continue
		}

		if next == nil || f.err != nil {
			return nil, nil, false
		}
		all = append(all, next)
	}

	return alone, all, true
}

// lastLink resolves a clause at the end of a reference. ok is false when it is a chain
// itself, or needs the resources.
func lastLink(f *Finder, then Clause) (c Clause, ok bool) {
	if !plain([]Clause{then}) {
		return c, false
	}
	c = f.resolve(then)
	return c, f.err == nil
}

// isNear reports whether few resources satisfy a clause, as far as a short look shows.
func isNear(f *Finder, typ string, c *Clause) bool {
	if c.not {
		return false
	}

	looked, found := 0, len(c.ids)
	for i := range c.probes {
		p := &c.probes[i]
		if paramOf(p.from).Type != typ {
			continue
		}
		f.scan(p.from, p.to, func(term []byte, _ uint64) bool {
			looked++
			if p.keep == nil || p.keep(term[2:]) {
				found++
			}
			return looked <= maxLook && found <= maxNear
		})
	}

	return looked <= maxLook && found <= maxNear
}

// target is a resource that is referred to.
type target struct{ typ, id string }

// chained is a chain of one link.
type chained struct {
	*Finder
	param *Param
	links []link // each with its clause resolved
	known map[target]bool
}

// followChain returns nil for a chain that is to be resolved.
func followChain(f *Finder, links []link) follower {
	w := &chained{
		Finder: f,
		param:  links[0].param,
		known:  map[target]bool{},
	}
	if w.param.looksAt("Resource") || !isOrdered(f, w.param) {
		return nil
	}

	var types []string
	for _, l := range links {
		types = append(types, l.typ)
	}
	may := f.allowed(types...)

	near := true
	for _, l := range links {
		if !may[l.typ] {
			continue
		}

		then, ok := lastLink(f, l.then)
		if !ok || l.param.canonicalOf(l.typ) != nil || hasInline(f, l) {
			return nil
		}

		l.then = then
		w.links = append(w.links, l)
		near = near && isNear(f, l.typ, &then)
	}

	if near {
		return nil
	}
	return w
}

func (w *chained) tired() bool { return len(w.known) > maxFollowed }

func (w *chained) keep(docs []uint64) []uint64 {
	var all []target
	ends := make([]int, 0, len(docs)) // of the targets of each
	w.eachTerms(docs, func(_ uint64, _ string, t Terms) bool {
		t.of(w.param.id, func(value []byte) bool {
			if id, typ, version := splitRef(value); version == "" && w.leadsTo(typ) {
				all = append(all, target{typ, id})
			}
			return true
		})

		ends = append(ends, len(all))
		return w.step()
	})

	if w.err != nil {
		return nil
	}

	for _, l := range w.links {
		w.learn(l, all)
	}

	kept := docs[:0]
	from := 0
	for i, doc := range docs {
		if slices.ContainsFunc(all[from:ends[i]], func(t target) bool { return w.known[t] }) {
			kept = append(kept, doc)
		}
		from = ends[i]
	}

	return kept
}

func (w *chained) leadsTo(typ string) bool {
	return slices.ContainsFunc(w.links, func(l link) bool { return l.typ == typ })
}

// learn finds out for which targets of a link's type its clause holds.
func (w *chained) learn(l link, all []target) {
	var docs []uint64
	of := map[uint64]target{}
	for _, t := range all {
		if _, known := w.known[t]; known || t.typ != l.typ {
			continue
		}

		w.known[t] = false
		if doc, ok := w.find(t.typ, t.id); ok {
			docs = append(docs, doc)
			of[doc] = t
		}
	}

	slices.Sort(docs)
	for _, doc := range among(w.Finder, l.typ, docs, l.then) {
		w.known[of[doc]] = true
	}
}

// among returns those of docs that satisfy a clause, and that the reader may find.
func among(f *Finder, typ string, docs []uint64, c Clause) []uint64 {
	return f.seen(typ, f.holding(docs, []Clause{c}, f.Search(typ)))
}

// referred is a _has of one link.
type referred struct {
	*Finder
	of   has // with its clause resolved
	read int
}

// followHas returns nil for a _has that is to be resolved.
func followHas(f *Finder, h *has) follower {
	f.allowed(h.param.Type)
	if h.param.canonicalOf(h.typ) != nil || !isOrdered(f, h.param) {
		return nil
	}

	then, ok := lastLink(f, h.then)
	if !ok || isNear(f, h.param.Type, &then) {
		return nil
	}

	w := &referred{
		Finder: f,
		of:     *h,
	}
	w.of.then = then

	return w
}

func (w *referred) tired() bool { return w.read > maxFollowed }

func (w *referred) keep(docs []uint64) []uint64 {
	ids := make([]string, 0, len(docs))
	w.eachTerms(docs, func(_ uint64, id string, _ Terms) bool {
		ids = append(ids, id)
		return w.step()
	})
	if w.err != nil {
		return nil
	}

	kept := docs[:0]
	for i, doc := range docs {
		if w.refersTo(ids[i]) {
			kept = append(kept, doc)
		}
	}

	return kept
}

// refersTo reports whether one of the resources that refer to an id satisfies the clause.
func (w *referred) refersTo(id string) bool {
	p := w.of.param
	var docs []uint64
	for _, pr := range []probe{
		p.exactly(id, sep, w.of.typ),
		p.beginning(id, sep, w.of.typ, sep), // to a version of it
	} {
		w.scan(pr.from, pr.to, func(_ []byte, doc uint64) bool {
			docs = append(docs, doc)
			w.read++
			return !w.tired() && w.step()
		})
	}

	slices.Sort(docs)
	const together = 64
	for some := range slices.Chunk(slices.Compact(docs), together) {
		if len(among(w.Finder, p.Type, some, w.of.then)) > 0 {
			return true
		}
	}

	return false
}
