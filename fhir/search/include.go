package search

// maxIncluded bounds what one page may bring along.
const maxIncluded = 2000

// maxRounds bounds how often :iterate goes on from what it brought.
const maxRounds = 5

// Include gives the resources that the query's includes bring along with a
// page, without those of the page; whole is false when there were too many.
// Its error is the context's.
func (f *Finder) Include(q *Query, page []uint64) (more []uint64, whole bool, err error) {
	if f.err = f.ctx.Err(); f.err != nil || len(q.Includes) == 0 {
		return nil, true, f.err
	}

	in := included{f: f, seen: map[uint64]bool{}}
	for _, doc := range page {
		in.seen[doc] = true
	}
	from := page
	for round := 0; round < maxRounds && len(from) > 0; round++ {
		at := len(in.docs)
		for _, inc := range q.Includes {
			if round == 0 || inc.Iterate {
				in.follow(inc, from)
			}
		}
		from = in.docs[at:len(in.docs):len(in.docs)]
	}

	return in.docs, !in.full, f.err
}

type included struct {
	f    *Finder
	seen map[uint64]bool
	docs []uint64
	full bool
}

func (in *included) follow(inc Include, from []uint64) {
	for _, p := range inc.params() {
		for _, doc := range from {
			if inc.Reverse {
				in.pointing(p, inc, doc)
			} else {
				in.pointedAt(p, inc.wants, doc)
			}
		}
	}
}

// params are the references that an include follows.
func (i Include) params() []*Param {
	if i.Param != nil {
		return []*Param{i.Param}
	}
	var all []*Param
	for _, p := range Params(i.Source) {
		if p.Kind == Reference {
			all = append(all, p)
		}
	}
	return all
}

// add takes a resource if the reader may read it.
func (in *included) add(typ string, doc uint64) {
	if in.seen[doc] || !in.f.step() {
		return
	}

	id, terms := in.f.terms(doc)
	if !in.f.Read(typ).Passes(id, terms) || !in.f.visible(typ, doc) {
		return
	}
	if len(in.docs) >= maxIncluded {
		in.full = true
		return
	}

	in.seen[doc] = true
	in.docs = append(in.docs, doc)
}

// wants reports whether an include takes resources of typ along.
func (i Include) wants(typ string) bool { return i.Target == "" || typ == i.Target }

func (in *included) pointedAt(p *Param, wants func(typ string) bool, doc uint64) {
	_, terms := in.f.terms(doc)
	terms.of(p.id, func(value []byte) bool {
		id, typ, version := splitRef(value)
		if typ == "" || version != "" || !wants(typ) {
			return true
		}

		if d, ok := in.f.find(typ, id); ok {
			in.add(typ, d)
		}
		return true
	})
}

func (in *included) pointing(p *Param, inc Include, doc uint64) {
	typ, id := in.f.identity(doc)
	if !inc.wants(typ) {
		return
	}
	pr := p.exactly(id, sep, typ)
	in.f.scan(pr.from, pr.to, func(_ []byte, d uint64) bool {
		in.add(p.Type, d)
		return !in.full
	})
}

// Linked gives the resources that docs refer to, and those that these refer
// to, of the types wanted and as far as the reader may read them. Its error is
// the context's, or that there are too many.
func (f *Finder) Linked(docs []uint64, wants func(typ string) bool) ([]uint64, error) {
	if f.err = f.ctx.Err(); f.err != nil {
		return nil, f.err
	}

	in := included{f: f, seen: map[uint64]bool{}}
	for _, doc := range docs {
		in.seen[doc] = true
	}
	from := docs
	for round := 0; round < 2; round++ {
		at := len(in.docs)
		for _, doc := range from {
			typ, _ := f.identity(doc)
			for _, p := range (Include{Source: typ}).params() {
				in.pointedAt(p, wants, doc)
			}
		}

		from = in.docs[at:len(in.docs):len(in.docs)]
	}

	if in.full && f.err == nil {
		f.err = ErrTooCostly
	}
	return in.docs, f.err
}
