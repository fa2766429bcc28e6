package search

import (
	"bytes"
	"slices"
	"sync"
	"time"
)

// Builder makes the terms of a resource that the server itself writes, without
// parsing it. They must be what Extract returns for the same resource, which the
// caller's tests prove.
type Builder struct {
	c      collector
	params map[string]*Param
}

// builders keep their scratch buffers: every request makes such a resource.
var builders = sync.Pool{New: func() any {
	return &Builder{c: collector{
		arena: make([]byte, 0, 4096),
		terms: make([][]byte, 0, 64),
	}}
}}

// maxKeptTerms bounds the scratch buffer of a Builder that is kept, in terms.
const maxKeptTerms = 1024

// release gives a Builder back, whose terms are packed.
func (b *Builder) release() {
	if cap(b.c.terms) > maxKeptTerms {
		return
	}
	b.c = collector{
		arena: b.c.arena,
		terms: b.c.terms,
	}
	builders.Put(b)
}

// NewBuilder begins the terms of a resource of typ. The Builder ends with Terms
// or Each.
func NewBuilder(typ string, st Stamp) *Builder {
	b := builders.Get().(*Builder)
	b.c, b.params = collector{
		stamp: st,
		most:  maxTerms,
		arena: b.c.arena[:0],
		terms: b.c.terms[:0],
	}, tables().params[typ]

	for _, code := range []string{"_type", "_id", "_lastUpdated"} {
		b.c.param(b.params[code], nil)
	}

	return b
}

// Code adds a code whose system is implicit.
func (b *Builder) Code(param, code string) {
	b.add(param, code, sep, implicit)
}

// Token adds a code and its system, "" for none.
func (b *Builder) Token(param, system, code string) {
	b.add(param, whole(code), sep, whole(system))
}

// Date adds an instant.
func (b *Builder) Date(param string, t time.Time) {
	b.c.id = b.params[param].id
	ms := t.UnixMilli()
	b.c.build(span{ms, ms + 1}.value)
}

// Ref adds a reference to a resource of this server; version "" for none.
func (b *Builder) Ref(param, typ, id, version string) {
	b.add(param, id, sep, typ)
	if version != "" {
		b.add(param, id, sep, typ, sep, version)
	}
}

// Identifier adds a reference by identifier.
func (b *Builder) Identifier(param, system, value string) {
	b.add(param, logical, whole(value), sep, whole(system))
}

// Present adds that there is an element which has no value to search for, such
// as a reference with a display alone.
func (b *Builder) Present(param string) {
	b.add(param, noValue)
}

// URI adds a uri.
func (b *Builder) URI(param, uri string) {
	b.add(param, whole(uri))
}

// Text adds a text.
func (b *Builder) Text(param, s string) {
	b.c.id = b.params[param].id
	b.c.text(s, false)
}

func (b *Builder) add(param string, parts ...string) {
	b.c.id = b.params[param].id
	b.c.add(parts...)
}

// Len returns how many terms were added.
func (b *Builder) Len() int {
	return len(b.c.terms)
}

// Since returns the terms that were added after the first n.
func (b *Builder) Since(n int) [][]byte {
	return cloneTerms(b.c.terms[n:])
}

// Cut returns the terms that were added after the first n, and removes them.
func (b *Builder) Cut(n int) [][]byte {
	cut := cloneTerms(b.c.terms[n:])
	b.c.terms = b.c.terms[:n]
	return cut
}

func cloneTerms(terms [][]byte) [][]byte {
	size := 0
	for _, t := range terms {
		size += len(t)
	}

	all := make([][]byte, 0, len(terms))
	room := make([]byte, 0, size)
	for _, t := range terms {
		from := len(room)
		room = append(room, t...)
		all = append(all, room[from:len(room):len(room)])
	}

	return all
}

// Again adds terms that Since or Cut returned.
func (b *Builder) Again(terms [][]byte) {
	b.c.terms = append(b.c.terms, terms...)
}

// Each calls f with what was added, in that order; the same term can come several
// times, and is valid during the call. The Builder must not be used any more.
func (b *Builder) Each(f func(term []byte)) {
	defer b.release()
	for _, t := range b.c.terms {
		f(t)
	}
}

// Terms returns what was added. The Builder must not be used any more.
func (b *Builder) Terms() Terms {
	defer b.release()
	slices.SortFunc(b.c.terms, bytes.Compare)
	return packTerms(b.c.terms)
}
