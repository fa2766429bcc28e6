package search

// resolveAll replaces chains by what they lead to, within what the reader may
// search at each link.
func (f *Finder) resolveAll(clauses []Clause) []Clause {
	out := make([]Clause, len(clauses))
	for i := range clauses {
		out[i] = f.resolve(clauses[i])
	}
	return out
}

func (f *Finder) resolve(c Clause) Clause {
	switch {
	case c.chain != nil:
		return f.resolveChain(c)
	case c.has != nil:
		return f.resolveHas(c)
	case c.said != nil:
		return c
	}
	c.never = !c.byID && len(c.probes) == 0 && len(c.set) == 0
	return c
}

// resolveChain finds the resources at the chain's end and asks for references
// to them.
func (f *Finder) resolveChain(c Clause) Clause {
	out := Clause{set: map[string]struct{}{}, setID: c.chain[0].param.id}
	for _, l := range c.chain {
		for _, doc := range f.matching(l.typ, f.resolveAll([]Clause{l.then}), f.Search(l.typ)) {
			_, id := f.identity(doc)
			out.set[id+sep+l.typ] = struct{}{}
			if len(out.set) > maxSet {
				f.err = ErrTooCostly
				return out
			}
		}
	}

	out.never = len(out.set) == 0
	return out
}

// resolveHas finds the resources that point here and asks for those that they
// point at, by id.
func (f *Finder) resolveHas(c Clause) Clause {
	out := Clause{byID: true}
	h := c.has
	seen := map[string]struct{}{}

	for _, doc := range f.matching(h.param.Type, f.resolveAll([]Clause{h.then}), f.Search(h.param.Type)) {
		_, terms := f.terms(doc)
		terms.of(h.param.id, func(value []byte) bool {
			if id, typ, version := splitRef(value); typ == h.typ && version == "" {
				seen[id] = struct{}{}
			}
			return true
		})

		if len(seen) > maxSet {
			f.err = ErrTooCostly
			return out
		}
	}

	for id := range seen {
		out.ids = append(out.ids, id)
	}
	return out
}

// splitRef takes a reference's value apart.
func splitRef(value []byte) (id, typ, version string) {
	parts := [3]string{}
	n, from := 0, 0
	for i, b := range value {
		if b == sep[0] && n < 2 {
			parts[n], from = string(value[from:i]), i+1
			n++
		}
	}
	parts[n] = string(value[from:])
	return parts[0], parts[1], parts[2]
}
