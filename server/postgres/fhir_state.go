package postgres

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/search"
)

// state is one transaction seen as fhir.Resources and fhir.ResourceStore.
type state struct {
	session
	store    *FHIR
	base     numbers  // of the state that is read
	numbers  numbers  // with those that this transaction has given
	changing *pending // what is written; nil when it only reads
	audit    auditLog

	used   []*span // of the cache, before the transaction has begun
	dated  bool    // the number of the last change of a Consent was
	moved  bool    // what was used is not right in the transaction's state
	recent map[uint64]fhir.Entry
	ahead  map[string][]indexRow // see ReadAhead

	expected [][]byte // terms that are asked for next: see Expect
	shown    shown

	settings map[string][]byte // that were read; nil: there is none
}

// numbers are the last ones that were given, in one state of the database.
type numbers struct {
	docs    uint64 // of a resource or a record
	changes uint64 // in the log of changes
	written uint64 // of these, that of the last change of a resource

	// consents is that of the last change of a Consent; 0: there is none, or it is not
	// known.
	consents uint64

	epoch  uint64 // how often the index was made anew
	rules  string // by which it is made: see fhir.IndexSetting
	origin origin
}

// sameIndex reports whether numbers are of the same index of the same database: then
// those that are equal are of the same state.
func (n *numbers) sameIndex(other *numbers) bool {
	return n.epoch == other.epoch && n.origin == other.origin
}

// maxRecent is how many resources that were read are kept until the transaction ends:
// what was looked up is read next.
const maxRecent = 2048

var (
	_ fhir.ResourceStore = (*state)(nil)
	_ fhir.Ahead         = (*state)(nil)
	_ fhir.Dated         = (*state)(nil)
)

// move notes the state in which the transaction has begun. A state that is only read may
// be a later one than what was used of the cache: then that must be right in it, too.
func (s *state) move(n numbers) error {
	same := n.sameIndex(&s.base)
	if !same || n.written != s.base.written {
		s.moved = len(s.used) > 0 && (!same || !s.store.cache.all(s.used, n)) ||
			s.dated && (!same || n.consents != s.base.consents)
	}
	s.base = n
	s.numbers = n
	s.used = nil
	if s.moved {
		return errMoved
	}
	return s.store.accepts(n)
}

// errMoved ends a view that would see two states; it is run again.
var errMoved = errors.New("another state of the database")

// uses notes that something kept is used.
func (s *state) uses(kept *span) {
	if s.tx == nil {
		s.used = append(s.used, kept)
	}
}

// ask sends one query, and calls f with each row of its result.
func (s *state) ask(ctx context.Context, f func(pgx.Rows) error, sql string, args ...any) error {
	b := &pgx.Batch{}
	queueRows(b, f, sql, args...)
	return s.read(ctx, b)
}

// read sends a batch for a caller. A transaction that others share is not ended with
// the caller's ctx.
func (s *state) read(ctx context.Context, b *pgx.Batch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.changing != nil {
		ctx = context.WithoutCancel(ctx)
	}
	if len(s.expected) == 0 {
		return s.send(ctx, b)
	}

	a := newAhead(s, s.expected)
	s.expected = nil
	a.queue(b)
	err := s.send(ctx, b)
	if err == nil {
		a.keep(s)
	}
	return err
}

func queueRows(b *pgx.Batch, f func(pgx.Rows) error, sql string, args ...any) {
	b.Queue(sql, args...).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			if err := f(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	})
}

// entryColumns are those that scanEntry reads.
const entryColumns = "doc, version, updated, method, deleted, type, id, terms, body"

// keep keeps a resource that was read.
func (s *state) keep(e fhir.Entry) {
	s.remember(e)
	s.store.cache.keepEntry(s.base, e)
}

// remember keeps it until the transaction ends.
func (s *state) remember(e fhir.Entry) {
	if s.recent == nil || len(s.recent) >= maxRecent {
		s.recent = map[uint64]fhir.Entry{}
	}
	s.recent[e.Doc] = e
}

// known returns the current version of a resource that was written or read before.
func (s *state) known(doc uint64) (fhir.Entry, bool) {
	if s.changing != nil {
		if e, ok := s.changing.docs[doc]; ok {
			return e, true
		}
	}
	if e, ok := s.recent[doc]; ok {
		return e, true
	}
	if kept := s.store.cache.entry(s.base, doc); kept != nil {
		s.uses(kept.span)
		return kept.entry, true
	}
	return fhir.Entry{}, false
}

// Lookup implements fhir.Resources. It reads the resource, too: what is looked up is
// read next.
func (s *state) Lookup(ctx context.Context, typ, id string) (doc uint64, ok bool, err error) {
	if s.changing != nil {
		if doc, ok = s.changing.ids[identity{typ, id}]; ok {
			return doc, true, nil
		}
	}

	if kept := s.store.cache.named(s.base, identity{typ, id}); kept != nil {
		s.uses(kept.span)
		return kept.entry.Doc, true, nil
	}

	var e fhir.Entry
	err = s.ask(ctx, func(rows pgx.Rows) (err error) {
		e, err = scanEntry(rows)
		return err
	}, "select "+entryColumns+" from doc where type = $1 and id = $2", typ, id)
	if err != nil || e.Doc == 0 {
		return 0, false, err
	}
	s.keep(e)
	return e.Doc, true, nil
}

// Entry implements fhir.Resources.
func (s *state) Entry(ctx context.Context, doc uint64) (e fhir.Entry, ok bool, err error) {
	if e, ok = s.known(doc); ok {
		return e, true, nil
	}

	err = s.ask(ctx, func(rows pgx.Rows) (err error) {
		e, err = scanEntry(rows)
		return err
	}, "select "+entryColumns+" from doc where doc = $1", int64(doc))
	if err != nil || e.Doc == 0 {
		return fhir.Entry{}, false, err
	}
	s.keep(e)
	return e, true, nil
}

// must reads the current version of a resource that another row names.
func (s *state) must(ctx context.Context, doc uint64) (fhir.Entry, error) {
	e, ok, err := s.Entry(ctx, doc)
	if err == nil && !ok {
		err = s.Lost(doc)
	}
	return e, err
}

// Lost implements fhir.Resources.
func (s *state) Lost(doc uint64) error {
	return s.damaged("doc", "number %d is not there, though another row names it", doc)
}

// damaged notes a row that cannot be what was written, and returns it as an error.
func (s *state) damaged(table, format string, args ...any) error {
	return s.db.health.found(damaged(s.db.schema+"."+table, format, args...))
}

// Bounds of what is read at once: resources, and the bytes of their bodies that are
// aimed at.
const (
	fewEntries  = 32
	manyEntries = 512
	readBytes   = 4 << 20
)

// Entries implements fhir.Resources.
func (s *state) Entries(
	ctx context.Context, docs []uint64, f func(fhir.Entry) bool,
) (done int, err error) {
	size := fewEntries
	for done < len(docs) {
		some := docs[done:min(done+size, len(docs))]
		read := make([]fhir.Entry, len(some))
		if err := s.readEntries(ctx, some, read); err != nil {
			return done, err
		}

		bytes := 0
		for i := range some {
			e := &read[i]
			if e.Doc == 0 {
				return done, nil
			}

			done++
			bytes += len(e.Body)
			if !f(*e) {
				return done, nil
			}
		}
		size = nextSize(len(some), bytes)
	}

	return done, nil
}

// nextSize returns how many resources to read next, after some of that many bytes.
func nextSize(n, bytes int) int {
	return max(1, min(readBytes*n/max(bytes, 1), 4*n, manyEntries))
}

// readEntries reads current versions.
func (s *state) readEntries(
	ctx context.Context, docs []uint64, read []fhir.Entry,
) error {
	var ask []int64
	for i, doc := range docs {
		if e, ok := s.known(doc); ok {
			read[i] = e
		} else {
			ask = append(ask, int64(doc))
		}
	}
	if len(ask) == 0 {
		return nil
	}

	asked := make(map[uint64]fhir.Entry, len(ask))
	err := s.ask(ctx, func(rows pgx.Rows) error {
		e, err := scanEntry(rows)
		asked[e.Doc] = e
		return err
	}, "select "+entryColumns+" from doc where doc = any($1)", ask)
	if err != nil {
		return err
	}
	for _, e := range asked {
		s.store.cache.keepEntry(s.base, e)
	}
	place(docs, read, asked)
	return nil
}

// place fills in what was asked for of some resources.
func place(docs []uint64, read []fhir.Entry, asked map[uint64]fhir.Entry) {
	for i, doc := range docs {
		if read[i].Doc == 0 {
			read[i] = asked[doc]
		}
	}
}

// Terms implements fhir.Resources.
func (s *state) Terms(
	ctx context.Context, docs []uint64, f func(doc uint64, id string, t search.Terms) bool,
) (done int, err error) {
	size := 4 * fewEntries
	for done < len(docs) {
		some := docs[done:min(done+size, len(docs))]
		read := make([]fhir.Entry, len(some))
		if err := s.readTerms(ctx, some, read); err != nil {
			return done, err
		}

		for i := range some {
			e := &read[i]
			if e.Doc == 0 {
				return done, nil
			}
			done++
			if !f(e.Doc, e.ID, e.Terms) {
				return done, nil
			}
		}
		size = min(4*size, 4*manyEntries)
	}

	return done, nil
}

// readTerms reads number, id and terms.
func (s *state) readTerms(
	ctx context.Context, docs []uint64, read []fhir.Entry,
) error {
	var ask []int64
	for i, doc := range docs {
		if e, ok := s.known(doc); ok {
			read[i] = e
		} else if kept := s.store.cache.ofDoc(s.base, doc); kept != nil {
			s.uses(kept.span)
			read[i] = kept.entry
		} else {
			ask = append(ask, int64(doc))
		}
	}
	if len(ask) == 0 {
		return nil
	}

	var all []fhir.Entry
	from, to := s.shown.of(ask)
	err := s.ask(ctx, func(rows pgx.Rows) error {
		e, err := scanEntry(rows)
		all = append(all, e)
		return err
	}, "select doc, version, updated, method, deleted, type, id, terms, "+
		"case when doc between $2 and $3 then body end from doc where doc = any($1)", ask, from, to)
	asked := make(map[uint64]fhir.Entry, len(all))
	for _, e := range all {
		asked[e.Doc] = e
		if doc := int64(e.Doc); doc >= from && doc <= to {
			s.keep(e)
		} else {
			s.store.cache.keepTerms(s.base, e.Doc, e.ID, e.Terms)
		}
	}
	place(docs, read, asked)
	return err
}

// shown is which of the resources that a search finds are shown: the first n above a
// number.
type shown struct {
	after uint64
	n     int
}

// of returns the first and last of some resources that are among those, and forgets
// them.
func (sh *shown) of(docs []int64) (from, to int64) {
	n := min(sh.n, fewEntries)
	if n == 0 || !slices.IsSorted(docs) {
		return 1, 0
	}

	at, _ := slices.BinarySearch(docs, int64(sh.after)+1)
	sh.n = 0
	if at == len(docs) {
		return 1, 0
	}
	return docs[at], docs[min(at+n, len(docs))-1]
}

// Version implements fhir.Resources.
func (s *state) Version(ctx context.Context, doc, version uint64) (e fhir.Entry, ok bool, err error) {
	e, ok = s.known(doc)
	if ok && e.Version == version {
		return e, true, nil
	}

	var old fhir.Entry
	if s.changing != nil {
		old = s.changing.versions[versionKey{doc, version}]
	}
	if old.Doc == 0 {
		if old, err = s.readVersion(ctx, doc, version, &e); err != nil {
			return fhir.Entry{}, false, err
		}
	}

	switch {
	case e.Doc == 0:
		return fhir.Entry{}, false, nil
	case e.Version == version:
		return e, true, nil
	case old.Doc != 0:
		old.Type, old.ID = e.Type, e.ID
		return old, true, nil
	case version == 0 || version > e.Version:
		return fhir.Entry{}, false, nil
	}
	return fhir.Entry{}, false, s.damaged("former", "version %d of number %d is not there", version, doc)
}

// readVersion reads a former version, and the current one unless it is known. Neither
// need be there.
func (s *state) readVersion(
	ctx context.Context, doc, version uint64, current *fhir.Entry,
) (old fhir.Entry, err error) {
	b := &pgx.Batch{}
	if current.Doc == 0 {
		queueRows(b, func(rows pgx.Rows) (err error) {
			*current, err = scanEntry(rows)
			return err
		}, "select "+entryColumns+" from doc where doc = $1", int64(doc))
	}
	queueRows(b, func(rows pgx.Rows) (err error) {
		old, err = scanVersion(rows)
		return err
	}, "select "+versionColumns+" from former where doc = $1 and version = $2", int64(doc), int64(version))
	err = s.read(ctx, b)
	return old, err
}

// Each implements fhir.Resources.
func (s *state) Each(ctx context.Context, after uint64, f func(fhir.Entry) bool) error {
	size := fewEntries
	for {
		var page []fhir.Entry
		bytes := 0
		err := s.ask(ctx, func(rows pgx.Rows) error {
			e, err := scanEntry(rows)
			page = append(page, e)
			bytes += len(e.Body)
			return err
		}, "select "+entryColumns+" from doc where doc > $1 order by doc limit $2", int64(after), size)
		if err != nil {
			return err
		}

		for _, e := range page {
			after = e.Doc
			if s.changing != nil { // it is read in order to be changed
				e = s.current(e)
			}
			if !f(e) {
				return nil
			}
		}
		if len(page) < size {
			s.changing.eachNew(after, s.numbers.docs, f)
			return nil
		}
		size = nextSize(len(page), bytes)
	}
}

// current returns what a transaction that changes things has made of a resource that was
// read, which is known from then on.
func (s *state) current(e fhir.Entry) fhir.Entry {
	if changed, ok := s.changing.docs[e.Doc]; ok {
		return changed
	}
	s.remember(e)
	return e
}

// eachNew calls f with the resources above a number, up to another one, that a transaction
// made; there are none when it only reads.
func (p *pending) eachNew(after, last uint64, f func(fhir.Entry) bool) {
	if p == nil {
		return
	}
	for doc := after + 1; doc <= last; doc++ {
		if e, ok := p.docs[doc]; ok && !f(e) {
			return
		}
	}
}

// Setting implements fhir.Resources.
func (s *state) Setting(ctx context.Context, name string) ([]byte, error) {
	if s.changing != nil {
		if value, ok := s.changing.settings[name]; ok {
			return value, nil
		}
	}
	if value, ok := s.settings[name]; ok {
		return value, nil
	}

	b := &pgx.Batch{}
	s.queueSetting(b, name)
	err := s.read(ctx, b)
	return s.settings[name], err
}

// queueSetting reads a setting, which is then known in this transaction.
func (s *state) queueSetting(b *pgx.Batch, name string) {
	if s.settings == nil {
		s.settings = map[string][]byte{}
	}

	b.Queue("select (select value from setting where name = $1)", name).QueryRow(func(row pgx.Row) error {
		var value []byte
		err := row.Scan(&value)
		s.settings[name] = value
		return err
	})
}
