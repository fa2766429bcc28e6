package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/search"
)

// pending is what a transaction writes. It is kept here until the end, and then sent
// in a few statements.
type pending struct {
	docs     map[uint64]fhir.Entry // current versions
	ids      map[identity]uint64   // of those that are new
	versions map[versionKey]fhir.Entry
	changes  []logged
	terms    map[param]map[string]bool // by key of the index: whether it comes, or goes
	dropped  bool                      // all of the index goes first
	again    bool                      // resources are indexed again
	settings map[string][]byte         // nil: removed

	wrote bool // something was changed since the last call of Changed
}

// identity names a resource.
type identity struct{ typ, id string }

type versionKey struct{ doc, version uint64 }

// param is the number of a search parameter, which terms begin with.
type param [2]byte

func newPending() *pending {
	return &pending{
		docs:     map[uint64]fhir.Entry{},
		ids:      map[identity]uint64{},
		versions: map[versionKey]fhir.Entry{},
		terms:    map[param]map[string]bool{},
		settings: map[string][]byte{},
	}
}

// Changed implements shared.Batch. A transaction that has failed serves nobody.
func (s *state) Changed() bool {
	changed := s.changing.wrote || s.err != nil
	s.changing.wrote = false
	return changed
}

// Put implements fhir.ResourceStore.
func (s *state) Put(ctx context.Context, e fhir.Entry) (uint64, error) {
	p := s.changing
	var before search.Terms
	if e.Doc == 0 {
		s.numbers.docs++
		e.Doc = s.numbers.docs
		p.ids[identity{e.Type, e.ID}] = e.Doc
	} else {
		old, err := s.must(ctx, e.Doc)
		if err != nil {
			return 0, err
		}

		before = old.Terms
		old.Terms = nil
		p.versions[versionKey{e.Doc, old.Version}] = old
	}

	p.wrote = true
	s.changeTerms(e.Doc, before, e.Terms)
	p.docs[e.Doc] = e
	s.numbers.changes++
	s.numbers.written = s.numbers.changes
	if e.Type == "Consent" {
		s.numbers.consents = s.numbers.changes
	}
	p.changes = append(p.changes, logged{
		seq:     s.numbers.changes,
		doc:     e.Doc,
		version: e.Version,
		records: 1,
		typ:     e.Type,
	})
	return e.Doc, nil
}

// changeTerms turns one set of terms of a resource into another. Both are in order.
func (s *state) changeTerms(doc uint64, before, after search.Terms) {
	var old [][]byte
	before.Each(func(term []byte) bool {
		old = append(old, term)
		return true
	})

	after.Each(func(term []byte) bool {
		for len(old) > 0 && bytes.Compare(old[0], term) < 0 {
			s.changing.change(old[0], doc, false)
			old = old[1:]
		}
		if len(old) > 0 && bytes.Equal(old[0], term) {
			old = old[1:]
			return true
		}

		s.changing.change(term, doc, true)
		return true
	})

	for _, term := range old {
		s.changing.change(term, doc, false)
	}
}

// change notes that a term of a resource comes or goes. One that comes after it has
// gone is as it was.
func (p *pending) change(term []byte, doc uint64, comes bool) {
	of := param(term)
	changes := p.terms[of]
	if changes == nil {
		changes = map[string]bool{}
		p.terms[of] = changes
	}

	key := string(appendIndexKey(nil, term, doc))
	if was, ok := changes[key]; ok && was != comes {
		delete(changes, key)
		return
	}
	changes[key] = comes
}

// indexes notes that the index is changed otherwise than by a change of a resource.
func (s *state) indexes() {
	s.changing.wrote = true
	s.numbers.epoch = s.base.epoch + 1
}

// DropIndex implements fhir.ResourceStore.
func (s *state) DropIndex(ctx context.Context) error {
	s.indexes()
	s.changing.dropped = true
	clear(s.changing.terms)
	return s.audit.dropIndex(ctx)
}

// Reindex implements fhir.ResourceStore.
func (s *state) Reindex(ctx context.Context, doc uint64, t search.Terms) error {
	e, err := s.must(ctx, doc)
	if err != nil {
		return err
	}

	s.indexes()
	s.changing.again = true
	e.Terms = t
	s.changing.docs[doc] = e
	s.changeTerms(doc, nil, t)
	return nil
}

// SetSetting implements fhir.ResourceStore.
func (s *state) SetSetting(_ context.Context, name string, value []byte) error {
	s.changing.wrote = true
	s.changing.settings[name] = bytes.Clone(value)
	return nil
}

// settle sends what was written.
func (s *state) settle() error {
	b := &pgx.Batch{}
	if err := s.audit.settle(b); err != nil {
		return err
	}

	bulk := s.changing.queue(b)
	if n := s.numbers; n != s.base {
		b.Queue(
			"update numbers set docs = $1, changes = $2, written = $3, epoch = $4",
			int64(n.docs),
			int64(n.changes),
			int64(n.written),
			int64(n.epoch),
		)
	}
	if b.Len() == 0 {
		return nil
	}
	if err := s.send(context.Background(), b); err != nil || len(bulk.keys) == 0 {
		return err
	}
	return s.copyIn(context.Background(), "copy term (term, doc) from stdin binary", bulk.copied())
}

// queue queues the statements that write all of it, but for rows of the index that are
// so many that they are to be copied.
func (p *pending) queue(b *pgx.Batch) (bulk termRows) {
	if p.dropped {
		b.Queue("delete from term")
	}
	p.queueDocs(b)
	p.queueVersions(b)
	p.queueChanges(b)
	bulk = p.queueTerms(b)
	for name, value := range p.settings {
		if value == nil {
			b.Queue("delete from setting where name = $1", name)
		} else {
			b.Queue("insert into setting values ($1, $2) "+
				"on conflict (name) do update set value = excluded.value", name, value)
		}
	}
	return bulk
}

// docRows are rows of doc as a statement gets them.
const docRows = "unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::smallint[], $5::boolean[], " +
	"$6::text[], $7::text[], $8::bytea[], $9::bytea[])"

func (p *pending) queueDocs(b *pgx.Batch) {
	made, changed := newEntryRows(len(p.ids)), newEntryRows(len(p.docs)-len(p.ids))
	for _, doc := range slices.Sorted(maps.Keys(p.docs)) {
		e := p.docs[doc]
		if p.ids[identity{e.Type, e.ID}] == doc {
			made.add(e)
		} else {
			changed.add(e)
		}
	}

	made.queue(b, "insert into doc ("+entryColumns+") select * from "+docRows)
	changed.queue(b, "update doc set version = now.version, updated = now.updated, method = now.method, "+
		"deleted = now.deleted, terms = now.terms, body = now.body from "+docRows+
		" as now ("+entryColumns+") where doc.doc = now.doc")
}

// queue queues a statement for the rows, if there are any.
func (r *entryRows) queue(b *pgx.Batch, sql string) {
	if len(r.docs) > 0 {
		b.Queue(sql, r.docs, r.versions, r.updated, r.methods, r.deleted, r.types, r.ids, r.terms, r.bodies)
	}
}

func (p *pending) queueVersions(b *pgx.Batch) {
	if len(p.versions) == 0 {
		return
	}

	r := newEntryRows(len(p.versions))
	for _, e := range p.versions {
		r.add(e)
	}
	b.Queue("insert into former ("+versionColumns+") select * from unnest($1::bigint[], $2::bigint[], "+
		"$3::bigint[], $4::smallint[], $5::boolean[], $6::bytea[])",
		r.docs, r.versions, r.updated, r.methods, r.deleted, r.bodies)
}

// entryRows are the columns of rows of doc or version.
type entryRows struct {
	docs, versions, updated []int64
	methods                 []int16
	deleted                 []bool
	types, ids              []string
	terms, bodies           [][]byte
}

func newEntryRows(n int) *entryRows {
	return &entryRows{
		docs:     make([]int64, 0, n),
		versions: make([]int64, 0, n),
		updated:  make([]int64, 0, n),
		methods:  make([]int16, 0, n),
		deleted:  make([]bool, 0, n),
		types:    make([]string, 0, n),
		ids:      make([]string, 0, n),
		terms:    make([][]byte, 0, n),
		bodies:   make([][]byte, 0, n),
	}
}

func (r *entryRows) add(e fhir.Entry) {
	c := columnsOf(e)
	r.docs = append(r.docs, int64(e.Doc))
	r.versions = append(r.versions, int64(e.Version))
	r.updated = append(r.updated, c.updated)
	r.methods = append(r.methods, c.method)
	r.deleted = append(r.deleted, e.Deleted)
	r.types = append(r.types, e.Type)
	r.ids = append(r.ids, e.ID)
	r.terms = append(r.terms, notNull(e.Terms))
	r.bodies = append(r.bodies, notNull(e.Body))
}

// notNull returns bytes that the driver does not write as null.
func notNull(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func (p *pending) queueChanges(b *pgx.Batch) {
	if len(p.changes) == 0 {
		return
	}

	var seqs, docs, versions []int64
	var types []string
	var records []int32
	for _, l := range p.changes {
		seqs = append(seqs, int64(l.seq))
		types = append(types, l.typ)
		docs = append(docs, int64(l.doc))
		versions = append(versions, int64(l.version))
		records = append(records, int32(l.records))
	}
	b.Queue("insert into change (seq, type, doc, version, records) select * from "+
		"unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::integer[])",
		seqs, types, docs, versions, records)
}

// maxInserted is how many rows of the index a statement inserts; more are copied, which
// costs the server less.
const maxInserted = 1024

// queueTerms writes the index in the order of its keys, which are near each other then.
func (p *pending) queueTerms(b *pgx.Batch) (bulk termRows) {
	var came, went termRows
	for _, changes := range p.terms {
		for key, comes := range changes {
			if comes {
				came.keys = append(came.keys, key)
			} else {
				went.keys = append(went.keys, key)
			}
		}
	}

	if len(went.keys) > 0 {
		went.split()
		b.Queue("delete from term using unnest($1::bytea[], $2::bigint[]) as gone (t, d) "+
			"where term = t and doc = d", went.terms, went.docs)
	}

	const insert = "insert into term (term, doc) select * from unnest($1::bytea[], $2::bigint[])"
	switch {
	case len(came.keys) == 0:
	case p.again: // a resource that was changed before it is indexed again has some of the rows
		came.split()
		b.Queue(insert+" on conflict do nothing", came.terms, came.docs)
	case len(came.keys) <= maxInserted:
		came.split()
		b.Queue(insert, came.terms, came.docs)
	default:
		bulk = came
	}
	return bulk
}

// termRows are the columns of rows of term.
type termRows struct {
	keys  []string
	terms [][]byte
	docs  []int64
}

func (r *termRows) split() {
	slices.Sort(r.keys)
	for _, key := range r.keys {
		term, doc := splitKey(key)
		r.terms = append(r.terms, term)
		r.docs = append(r.docs, int64(doc))
	}
}

// copied returns the rows in the binary format of COPY, in their order (PostgreSQL,
// "COPY", File Formats).
func (r *termRows) copied() []byte {
	slices.Sort(r.keys)
	size := 32
	for _, key := range r.keys {
		size += len(key) + 16
	}

	b := append(make([]byte, 0, size), "PGCOPY\n\377\r\n\000"...)
	b = append(b, make([]byte, 8)...) // no flags, and no extension of the header
	for _, key := range r.keys {
		n := len(key) - 9
		b = binary.BigEndian.AppendUint16(b, 2)
		b = binary.BigEndian.AppendUint32(b, uint32(n))
		b = append(b, key[:n]...)
		b = binary.BigEndian.AppendUint32(b, 8)
		b = append(b, key[n+1:]...)
	}
	return binary.BigEndian.AppendUint16(b, 0xffff)
}
