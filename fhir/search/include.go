package search

import (
	"slices"
	"strconv"
)

// maxIncluded bounds what one page may bring along.
const maxIncluded = 2000

// maxRounds bounds how often :iterate goes on from what it brought.
const maxRounds = 5

// Hit is a resource that a page brings along: as it is now, or, with Version,
// as it was then.
type Hit struct{ Doc, Version uint64 }

// Include returns the resources that the query's includes bring along with a
// page, without those of the page. whole is false when there were too many, or
// :iterate had not come to an end. Its error is the context's or the index's.
func (f *Finder) Include(q *Query, page []uint64) (more []Hit, whole bool, err error) {
	if f.err = f.ctx.Err(); f.err != nil || len(q.Includes) == 0 {
		return nil, true, f.err
	}

	in := newIncluded(f, page)
	from := page
	for round := 0; len(from) > 0; round++ {
		if round == maxRounds {
			in.full = in.full || in.goesOn(q.Includes, from)
			break
		}

		at := len(in.docs)
		for _, inc := range distinct(q.Includes) {
			if round == 0 || inc.Iterate {
				in.follow(inc, from)
			}
		}

		from = in.docs[at:len(in.docs):len(in.docs)]
	}

	return in.hits(), !in.full, f.err
}

// distinct leaves out includes that are there already.
func distinct(includes []Include) []Include {
	var all []Include
	for _, inc := range includes {
		if !slices.Contains(all, inc) {
			all = append(all, inc)
		}
	}
	return all
}

// included is what a page brings along so far.
type included struct {
	f        *Finder
	seen     map[uint64]bool
	docs     []uint64
	versions []Hit
	current  bool // of a reference that names a version too
	full     bool
}

func newIncluded(f *Finder, page []uint64) *included {
	in := &included{
		f:    f,
		seen: map[uint64]bool{},
	}
	for _, doc := range page {
		in.seen[doc] = true
	}
	return in
}

func (in *included) hits() []Hit {
	all := make([]Hit, 0, len(in.docs)+len(in.versions))
	for _, doc := range in.docs {
		all = append(all, Hit{Doc: doc})
	}
	return append(all, in.versions...)
}

// goesOn reports whether another round would bring more.
func (in *included) goesOn(includes []Include, from []uint64) bool {
	had := len(in.docs)
	for _, inc := range distinct(includes) {
		if inc.Iterate {
			in.follow(inc, from)
		}
	}

	more := len(in.docs) > had
	in.docs = in.docs[:had]
	return more
}

func (in *included) follow(inc Include, from []uint64) {
	if inc.Reverse && in.f.Read(inc.Source).Empty() {
		return
	}

	for _, p := range in.f.followed(inc) {
		for _, doc := range from {
			if in.full || !in.f.step() {
				return
			}
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

// Brings returns the types of resources that an include may bring along, none for any.
func (i Include) Brings() []string {
	switch {
	case i.Reverse:
		return []string{i.Source}
	case i.Target != "":
		return []string{i.Target}
	case i.Param != nil:
		return i.Param.Targets
	}
	return nil
}

// followed are the references that an include follows for the reader.
func (f *Finder) followed(inc Include) []*Param {
	if f.Masked == nil {
		return inc.params()
	}
	return slices.DeleteFunc(inc.params(), f.Masked)
}

// readable reports whether the reader may read a resource that is wanted.
func (in *included) readable(typ string, doc uint64) bool {
	filter := in.f.Read(typ)
	if filter.Empty() || !in.f.step() {
		return false
	}
	id, terms := in.f.terms(doc)
	return filter.Passes(id, terms) && in.f.visible(typ, doc)
}

// add adds a resource if the reader may read it.
func (in *included) add(typ string, doc uint64) {
	if in.seen[doc] || !in.readable(typ, doc) {
		return
	}
	if len(in.docs)+len(in.versions) >= maxIncluded {
		in.full = true
		return
	}

	in.seen[doc] = true
	in.docs = append(in.docs, doc)
}

// addVersion adds a version of a resource that the reader may read.
func (in *included) addVersion(typ string, h Hit) {
	if slices.Contains(in.versions, h) || !in.readable(typ, h.Doc) {
		return
	}
	if len(in.docs)+len(in.versions) >= maxIncluded {
		in.full = true
		return
	}
	in.versions = append(in.versions, h)
}

// wants reports whether an include follows references to resources of typ.
func (i Include) wants(typ string) bool {
	return i.Target == "" || typ == i.Target
}

func (in *included) pointedAt(p *Param, wants func(typ string) bool, doc uint64) {
	_, terms := in.f.terms(doc)
	if !terms.have(p.id) {
		return
	}

	versioned := map[string]bool{} // references that name a version
	terms.of(p.id, func(value []byte) bool {
		if id, typ, version := splitRef(value); typ != "" && version != "" && wants(typ) &&
			!in.current {
			versioned[id+sep+typ] = true
			in.version(typ, id, version)
		}

		return true
	})

	terms.of(p.id, func(value []byte) bool {
		switch id, typ, version := splitRef(value); {
		case typ == "" && id != "":
			in.canonical(p, wants, id, version)
		case typ == "" || version != "" || versioned[id+sep+typ] || !wants(typ):
		default:
			if d, ok := in.f.find(typ, id); ok {
				in.add(typ, d)
			}
		}

		return true
	})
}

// version adds the version that a reference names (R4 references 2.3.0.1).
func (in *included) version(typ, id, version string) {
	n, err := strconv.ParseUint(version, 10, 64)
	if err != nil {
		return
	}
	if doc, ok := in.f.find(typ, id); ok {
		in.addVersion(typ, Hit{doc, n})
	}
}

// canonical adds the resources that have a canonical URL.
func (in *included) canonical(p *Param, wants func(typ string) bool, url, version string) {
	targets := p.Targets
	if targets == nil {
		targets = Types()
	}

	for _, typ := range targets {
		of := p.canonicalOf(typ)
		if of == nil || !wants(typ) || in.f.Read(typ).Empty() {
			continue
		}

		pr := of.exactly(url)
		if version != "" {
			pr = of.exactly(url, sep, version)
		}
		in.f.scan(pr.from, pr.to, func(_ []byte, doc uint64) bool {
			in.add(typ, doc)
			return !in.full && in.f.step()
		})
	}
}

func (in *included) pointing(p *Param, inc Include, doc uint64) {
	typ, id := in.f.identity(doc)
	if !inc.wants(typ) || p.Targets != nil && !slices.Contains(p.Targets, typ) {
		return
	}

	probes := []probe{p.exactly(id, sep, typ)}
	if of := p.canonicalOf(typ); of != nil {
		_, terms := in.f.terms(doc)
		of.each(terms, func(url, version string) {
			probes = append(probes, p.exactly(url, sep))
			if version != "" {
				probes = append(probes, p.exactly(url, sep, sep, version))
			}
		})
	}

	for _, pr := range probes {
		in.f.scan(pr.from, pr.to, func(_ []byte, d uint64) bool {
			in.add(p.Type, d)
			return !in.full && in.f.step()
		})
	}
}

// Linked returns the resources that docs refer to, and those that these refer
// to, of the types wanted and as far as the reader may read them. Its error is
// the context's, the index's, or that there are too many.
func (f *Finder) Linked(docs []uint64, wants func(typ string) bool) ([]uint64, error) {
	if f.err = f.ctx.Err(); f.err != nil {
		return nil, f.err
	}

	in := newIncluded(f, docs)
	in.current = true
	from := docs

	for range 2 {
		at := len(in.docs)
		for _, doc := range from {
			typ, _ := f.identity(doc)
			for _, p := range f.followed(Include{Source: typ}) {
				in.pointedAt(p, wants, doc)
			}
		}

		from = in.docs[at:len(in.docs):len(in.docs)]
	}

	if in.full {
		f.fail(ErrTooCostly)
	}
	return in.docs, f.err
}
