package postgres

import (
	"slices"
	"sync"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/search"
)

// cache keeps resources and lists of the index that were read. It is never ahead of
// the database or behind it: its clock is the number of the last change of a resource
// that it accounts for, every transaction brings the changes since then, and what is
// kept has the states in which it is right. So a transaction is served what its own
// snapshot has, and what another destination changed is seen at the next request.
type cache struct {
	most int // bytes

	mu       sync.Mutex // guards the fields below, and all that is kept
	clock    uint64
	consents uint64 // number of the last change of a Consent then; 0: not known
	epoch    uint64 // of the index; another one was made by other rules
	origin   origin // of all that is kept
	size     int    // bytes
	docs     map[uint64]*keptEntry
	ids      map[identity]*keptEntry
	lists    map[string]*keptList         // by the bounds of their ranges
	terms    map[string]*keptList         // of those, the lists of one term
	ranges   map[param]map[*keptList]bool // and the others
	having   map[uint64][]*keptList
}

// span is the states, by their clocks, in which something kept is right.
type span struct {
	since uint64
	end   uint64 // the first in which it is not; 0: not known yet
}

// in reports whether it is right in a state. The cache's mutex is held.
func (s *span) in(clock uint64) bool {
	return s.since <= clock && (s.end == 0 || clock < s.end)
}

// keptEntry is the current version of a resource.
type keptEntry struct {
	*span
	entry   fhir.Entry
	partial bool // only id and terms of it were read
}

// keptList is the first rows of a range of the index, or all.
type keptList struct {
	span
	indexRange
	key  string
	rows []indexRow
	part bool // more rows follow
}

// Bounds of what is kept. The overheads are what the maps add to each thing.
const (
	cacheBytes  = 64 << 20
	maxKept     = 64 << 10 // bytes of one resource
	maxRows     = 1024     // of one range
	overhead    = 150
	rowOverhead = 100
)

func newCache(most int) *cache {
	if most == 0 {
		most = cacheBytes
	}
	c := &cache{most: most}
	c.empty()
	return c
}

// empty forgets everything. The mutex is held, or the cache is new.
func (c *cache) empty() {
	for _, e := range c.docs {
		e.end = c.clock
	}
	for _, l := range c.lists {
		l.end = c.clock
	}

	c.size = 0
	c.docs = map[uint64]*keptEntry{}
	c.ids = map[identity]*keptEntry{}
	c.lists = map[string]*keptList{}
	c.terms = map[string]*keptList{}
	c.ranges = map[param]map[*keptList]bool{}
	c.having = map[uint64][]*keptList{}
}

// state returns the numbers of the state that the cache is of.
func (c *cache) state() numbers {
	c.mu.Lock()
	defer c.mu.Unlock()
	return numbers{
		written:  c.clock,
		consents: c.consents,
		epoch:    c.epoch,
		origin:   c.origin,
	}
}

// changed is a change of a resource, with the terms that it has now.
type changed struct {
	seq, doc uint64
	terms    search.Terms
}

// maxChanged bounds the changes that the cache follows one by one; after more it is
// emptied.
const maxChanged = 1000

// advance brings the cache to a state, by the changes since its own.
func (c *cache) advance(n numbers, changes []changed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n.origin != c.origin {
		c.empty()
		c.clock, c.epoch, c.origin = n.written, n.epoch, n.origin
		c.consents = n.consents
		return
	}
	if n.written >= c.clock {
		c.consents = n.consents
	}
	if n.epoch < c.epoch || n.epoch == c.epoch && n.written <= c.clock {
		return // another transaction has brought it further
	}

	before := c.clock
	c.clock = max(c.clock, n.written)
	if n.epoch != c.epoch || len(changes) > maxChanged {
		c.epoch = n.epoch
		c.empty()
		return
	}
	for _, change := range changes {
		if change.seq > before {
			c.change(change)
		}
	}
}

func (c *cache) change(x changed) {
	if e := c.docs[x.doc]; e != nil {
		c.dropEntry(e, x.seq)
	}
	for _, l := range slices.Clone(c.having[x.doc]) {
		c.dropList(l, x.seq)
	}

	x.terms.Each(func(term []byte) bool {
		r := indexRow{
			term: term,
			doc:  x.doc,
		}
		if l := c.terms[string(term)]; l != nil && l.covers(r) {
			c.dropList(l, x.seq)
		}
		for l := range c.ranges[param(term)] {
			if l.covers(r) {
				c.dropList(l, x.seq)
			}
		}
		return true
	})
}

// covers reports whether a row would be among those that are kept, if it were there.
func (l *keptList) covers(r indexRow) bool {
	return l.contains(r) && (!l.part || r.compare(l.rows[len(l.rows)-1]) <= 0)
}

func (c *cache) dropEntry(e *keptEntry, end uint64) {
	e.end = end
	c.size -= e.size()
	delete(c.docs, e.entry.Doc)
	delete(c.ids, identity{e.entry.Type, e.entry.ID})
}

func (e *keptEntry) size() int { return overhead + len(e.entry.Terms) + len(e.entry.Body) }

func (c *cache) dropList(l *keptList, end uint64) {
	l.end = end
	c.size -= l.size()
	delete(c.lists, l.key)
	if l.one != nil {
		delete(c.terms, string(l.one))
	} else {
		delete(c.ranges[param(l.from)], l)
	}
	for _, r := range l.rows {
		rest := slices.DeleteFunc(c.having[r.doc], func(of *keptList) bool { return of == l })
		if len(rest) == 0 {
			delete(c.having, r.doc)
		} else {
			c.having[r.doc] = rest
		}
	}
}

func (l *keptList) size() int {
	size := overhead + 2*len(l.from) + 2*len(l.to)
	for _, r := range l.rows {
		size += rowOverhead
		if l.one == nil {
			size += len(r.term)
		}
	}
	return size
}

// room drops anything until there is room for so much more.
func (c *cache) room(size int) {
	if c.size+size <= c.most {
		return
	}
	for _, e := range c.docs {
		if c.size+size <= c.most*9/10 {
			return
		}
		c.dropEntry(e, c.clock+1)
	}
	for _, l := range c.lists {
		if c.size+size <= c.most*9/10 {
			return
		}
		c.dropList(l, c.clock+1)
	}
}

// keepEntry keeps a resource that was read in the state of numbers.
func (c *cache) keepEntry(n numbers, e fhir.Entry) {
	c.keep(n, &keptEntry{
		span:  &span{since: n.written},
		entry: e,
	})
}

// keepTerms does the same with what a search reads of one.
func (c *cache) keepTerms(n numbers, doc uint64, id string, terms search.Terms) {
	c.keep(n, &keptEntry{
		span: &span{since: n.written},
		entry: fhir.Entry{
			Doc:   doc,
			ID:    id,
			Terms: terms,
		},
		partial: true,
	})
}

func (c *cache) keep(n numbers, e *keptEntry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.size() > maxKept || n.written != c.clock || !c.knows(n) {
		return
	}
	if old := c.docs[e.entry.Doc]; old != nil {
		if !old.partial || e.partial {
			return
		}
		e.span = old.span // who uses the old one must learn when it ends
		c.size -= old.size()
	}

	c.room(e.size())
	c.size += e.size()
	c.docs[e.entry.Doc] = e
	if !e.partial {
		c.ids[identity{e.entry.Type, e.entry.ID}] = e
	}
}

// keepList keeps the first rows of a range that were read in the state of numbers; part
// reports that more follow.
func (c *cache) keepList(n numbers, of indexRange, rows []indexRow, part bool) {
	l := &keptList{
		span:       span{since: n.written},
		indexRange: of.clone(),
		key:        of.key(),
		rows:       rows,
		part:       part,
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	if n.written != c.clock || !c.knows(n) {
		return
	}
	if old := c.lists[l.key]; old != nil {
		if !old.part || len(old.rows) >= len(rows) {
			return
		}
		c.dropList(old, c.clock+1)
	}

	c.room(l.size())
	c.size += l.size()
	c.lists[l.key] = l
	c.addRange(l)
	for _, r := range rows {
		c.having[r.doc] = append(c.having[r.doc], l)
	}
}

// addRange has a list found by the terms that would change it.
func (c *cache) addRange(l *keptList) {
	if l.one != nil {
		c.terms[string(l.one)] = l
		return
	}

	of := c.ranges[param(l.from)]
	if of == nil {
		of = map[*keptList]bool{}
		c.ranges[param(l.from)] = of
	}
	of[l] = true
}

// entry returns a resource as it is in a state.
func (c *cache) entry(n numbers, doc uint64) *keptEntry {
	if e := c.ofDoc(n, doc); e != nil && !e.partial {
		return e
	}
	return nil
}

// ofDoc does the same; only id and terms of the resource may be known.
func (c *cache) ofDoc(n numbers, doc uint64) *keptEntry {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.valid(n, c.docs[doc])
}

// named does the same by type and id.
func (c *cache) named(n numbers, id identity) *keptEntry {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.valid(n, c.ids[id])
}

func (c *cache) valid(n numbers, e *keptEntry) *keptEntry {
	if e == nil || !c.knows(n) || !e.in(n.written) {
		return nil
	}
	return e
}

// list returns the rows of a range, by its key, as they are in a state.
func (c *cache) list(n numbers, key string) *keptList {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.lists[key]
	if l == nil || !c.knows(n) || !l.in(n.written) {
		return nil
	}
	return l
}

// knows reports whether what is kept is of the same index of the same database. The
// mutex is held.
func (c *cache) knows(n numbers) bool {
	return n.epoch == c.epoch && n.origin == c.origin
}

// all reports whether all that was used in one state is right in another.
func (c *cache) all(used []*span, n numbers) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range used {
		if !s.in(n.written) {
			return false
		}
	}
	return true
}
