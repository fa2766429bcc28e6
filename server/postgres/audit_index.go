package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5"

	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/trail"
)

// The latest records, the tail, are not indexed: a search reads them. When it may be
// long, one destination indexes it in segments, with a row for each term. It does so
// after a commit and beside those that follow, so that no change waits for it.
const (
	tailNumbers    = 1024 // behind the index, of records and resources: then the tail is indexed
	segmentRecords = 2048 // with the row that reaches it
)

// indexer indexes the tail of a store.
type indexer struct {
	mu      sync.Mutex // guards the fields below
	tried   uint64     // the last number when it was last begun
	running bool
	closed  bool
	work    sync.WaitGroup
}

// committed has the tail indexed if it is long, after a commit.
func (s *FHIR) committed(last, indexed uint64) {
	x := &s.indexer
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.running || x.closed || last < max(indexed, x.tried)+tailNumbers {
		return
	}

	x.tried = last
	x.running = true
	x.work.Go(func() {
		more := true
		for more && !x.ended() {
			var err error
			if more, err = s.indexSegment(); err != nil {
				more = false // the next long tail is another attempt; Health names what matters
			}
		}

		x.mu.Lock()
		defer x.mu.Unlock()
		x.running = false
	})
}

func (x *indexer) ended() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.closed
}

// close waits for what is under way.
func (x *indexer) close() {
	x.mu.Lock()
	x.closed = true
	x.mu.Unlock()
	x.work.Wait()
}

// indexing is the advisory lock of who indexes the tail.
const indexing = 0x66686975

// indexSegment indexes the oldest records of the tail in a transaction of its own,
// unless another destination does. more reports whether there may be others.
func (s *FHIR) indexSegment() (more bool, err error) {
	ctx := context.Background()
	st := s.newState(pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	defer st.rollback()

	var free bool
	b := &pgx.Batch{}
	b.Queue("select pg_try_advisory_xact_lock($1), last from indexed", int64(indexing)).QueryRow(
		func(row pgx.Row) error {
			return row.Scan(&free, &st.audit.ends.indexed)
		})
	if err := st.read(ctx, b); err != nil || !free {
		return false, s.db.health.read(err)
	}

	more, err = st.audit.indexSome(ctx)
	switch {
	case conflicts(err):
		return false, nil // records were removed, or the index dropped, meanwhile
	case err != nil:
		return false, s.db.health.read(err)
	}
	return more, s.db.health.commit(st.commit())
}

// indexed is a record and its terms.
type indexed struct {
	doc   uint64
	terms search.Terms
}

// terms returns the records of a row with their terms.
func (s *auditLog) terms(x *trail.Indexer, r *block) (out []indexed, err error) {
	if r.err != nil {
		return nil, r.err
	}
	for i, l := range r.Links {
		rec, err := x.Unpack(l.Packed)
		if err != nil {
			return nil, s.damaged("record", noBlock, r.first)
		}
		doc := r.first + uint64(i)
		out = append(out, indexed{
			doc:   doc,
			terms: x.Terms(rec, trail.ID(doc)),
		})
	}
	return out, nil
}

// readTail reads the records that are not indexed, once in a transaction.
func (s *auditLog) readTail(ctx context.Context) error {
	if s.whole {
		return nil
	}
	rows, err := s.blocks(ctx, "where first > (select last from indexed) order by first")
	if err != nil {
		return err
	}

	s.tail = nil
	x := trail.NewIndexer()
	for _, r := range rows {
		some, err := s.terms(x, r)
		if err != nil {
			return err
		}
		s.tail = append(s.tail, some...)
	}
	s.whole = true
	return nil
}

// Scan implements fhir.AuditReader: it looks through the segments and the tail.
func (s *auditLog) Scan(
	ctx context.Context, from, to []byte, f func(term []byte, doc uint64) bool,
) error {
	var anchor uint64
	err := s.ask(ctx, func(rows pgx.Rows) error {
		return rows.Scan(&anchor)
	}, "select coalesce(max(anchor_doc), 0) from chain")
	if err != nil {
		return err
	}

	var key []byte
	kept := func(term []byte, doc uint64) bool {
		key = appendIndexKey(key[:0], term, doc)
		return doc <= anchor || bytes.Compare(key, from) < 0 || bytes.Compare(key, to) >= 0 || f(term, doc)
	}
	more, err := s.scanSegments(ctx, from, to, kept)
	if err != nil || !more {
		return err
	}

	if err := s.readTail(ctx); err != nil {
		return err
	}
	for _, rec := range s.tail {
		more := true
		rec.terms.Each(func(term []byte) bool {
			more = kept(term, rec.doc)
			return more
		})
		if !more {
			break
		}
	}
	return nil
}

// scanSegments calls f with what the segments have of a range of keys, and perhaps
// some more around it.
func (s *auditLog) scanSegments(
	ctx context.Context, from, to []byte, f func(term []byte, doc uint64) bool,
) (more bool, err error) {
	const rows = "select term, last, docs from posting where "
	if term, first, ok := oneTerm(from, to); ok {
		if first > lastNumber {
			return true, nil
		}
		at := posting{term: term}
		for size := fewTerms; ; size = min(8*size, manyTerms) {
			more, n, err := s.visit(ctx, &at, f, rows+"term = $1 and last > $2 and last >= $4 "+
				"order by last limit $3", term, int64(at.last), size, int64(first))
			if err != nil || !more || n < size {
				return more, err
			}
		}
	}

	at := posting{term: from}
	if shorter := termsBefore(from); len(shorter) > 0 {
		if more, _, err := s.visit(ctx, &posting{}, f, rows+"term = any($1) order by term, last", shorter); !more {
			return false, err
		}
	}
	where := "term >= $1 and $2 >= 0"
	for size := fewTerms; ; size = min(8*size, manyTerms) {
		more, n, err := s.visit(ctx, &at, f, rows+where+" and term < $4 order by term, last limit $3",
			at.term, int64(at.last), size, to)
		if err != nil || !more || n < size {
			return more, err
		}
		where = "(term, last) > ($1, $2)"
	}
}

// posting is a row of the index: the records of a segment that have a term.
type posting struct {
	term []byte
	last uint64
	docs []byte
}

// visit calls f with what the rows of a query list. It counts them, and at becomes the
// last one.
func (s *auditLog) visit(
	ctx context.Context, at *posting, f func(term []byte, doc uint64) bool, sql string, args ...any,
) (more bool, n int, err error) {
	more = true
	err = s.ask(ctx, func(rows pgx.Rows) error {
		n++
		*at = posting{}
		if err := rows.Scan(&at.term, &at.last, &at.docs); err != nil {
			return err
		}

		docs, ok := unpackDocs(at.docs)
		if !ok {
			return s.damaged("posting", "a row of the segment %d lists no records", at.last)
		}
		for _, doc := range docs {
			more = more && f(at.term, doc)
		}
		return nil
	}, sql, args...)
	return more && err == nil, n, err
}

// packDocs writes numbers that rise.
func packDocs(docs []uint64) (b []byte) {
	last := uint64(0)
	for _, doc := range docs {
		b = binary.AppendUvarint(b, doc-last)
		last = doc
	}
	return b
}

// unpackDocs reads what packDocs wrote.
func unpackDocs(b []byte) (docs []uint64, ok bool) {
	last := uint64(0)
	for len(b) > 0 {
		d, n := binary.Uvarint(b)
		if n <= 0 || d == 0 || last+d < last {
			return nil, false
		}
		last += d
		docs = append(docs, last)
		b = b[n:]
	}
	return docs, true
}

// postings are the records of a segment by term.
type postings map[string][]uint64

func (p postings) add(rec indexed) {
	rec.terms.Each(func(term []byte) bool {
		p[string(term)] = append(p[string(term)], rec.doc)
		return true
	})
}

// indexSome indexes the oldest records of the tail. more reports whether there may be
// others.
func (s *auditLog) indexSome(ctx context.Context) (more bool, err error) {
	rows, err := s.oldest(ctx, s.ends.indexed, segmentRecords)
	if err != nil {
		return false, err
	}

	n := 0
	for _, r := range rows {
		n += r.records
	}
	if n > 0 {
		if err := s.putSegment(ctx, rows); err != nil {
			return false, err
		}
	}
	if n < segmentRecords {
		s.ends.indexed = s.numbers.docs // behind the last record are resources
	}

	b := &pgx.Batch{}
	b.Queue("update indexed set last = $1", int64(s.ends.indexed))
	return n >= segmentRecords, s.state.read(ctx, b)
}

// putSegment indexes some rows of records.
func (s *auditLog) putSegment(ctx context.Context, rows []*block) error {
	all := postings{}
	last := uint64(0)
	x := trail.NewIndexer()
	for _, r := range rows {
		some, err := s.terms(x, r)
		if err != nil {
			return err
		}
		for _, rec := range some {
			all.add(rec)
		}
		last = r.first + uint64(r.records) - 1
	}

	var terms, docs [][]byte
	for _, term := range slices.Sorted(maps.Keys(all)) { // near each other in the table
		terms = append(terms, []byte(term))
		docs = append(docs, packDocs(all[term]))
	}

	b := &pgx.Batch{}
	b.Queue("insert into posting (term, last, docs) select t, $1, d from unnest($2::bytea[], $3::bytea[]) as r (t, d)",
		int64(last), terms, docs)
	b.Queue("insert into segment values ($1)", int64(last))
	s.ends.indexed = last
	s.tail, s.whole = nil, false
	return s.state.read(ctx, b)
}

// dropIndex has the records indexed again, those of a former index at once.
func (s *auditLog) dropIndex(ctx context.Context) error {
	b := &pgx.Batch{}
	b.Queue("update indexed set last = 0") // first: who indexes has ended then
	b.Queue("delete from posting")
	b.Queue("delete from segment")
	s.ends.indexed = 0
	s.tail, s.whole = nil, false
	err := s.state.read(ctx, b)
	for more := true; more && err == nil; {
		more, err = s.indexSome(ctx)
	}
	return err
}

// checkIndex compares the index with the terms of the records.
func (s *auditLog) checkIndex(ctx context.Context, e trail.Extent, f func(trail.Finding)) error {
	var segments []uint64
	var end uint64
	b := &pgx.Batch{}
	queueRows(b, func(rows pgx.Rows) error {
		var last uint64
		err := rows.Scan(&last)
		segments = append(segments, last)
		return err
	}, "select last from segment order by last")
	queueRows(b, func(rows pgx.Rows) error {
		return rows.Scan(&end)
	}, "select last from indexed")
	if err := s.state.read(ctx, b); err != nil {
		return err
	}

	from := e.Anchor()
	for _, last := range segments {
		same, err := s.sameSegment(ctx, from, last)
		if err != nil {
			return err
		}
		if !same {
			f(trail.Finding{
				Doc:     last,
				Problem: "the index of the records up to this one does not have their terms",
			})
		}
		from = last
	}

	var between, stray bool
	err := s.ask(ctx, func(rows pgx.Rows) error {
		return rows.Scan(&between, &stray)
	}, "select exists (select from record where first > $2 and first <= $3), "+
		"exists (select from posting where last <= $1 or last > $2)",
		int64(e.Anchor()), int64(from), int64(end))
	if between || end > s.numbers.docs {
		f(trail.Finding{Problem: fmt.Sprintf(
			"the records are indexed up to AuditEvent/%s, and the index ends at AuditEvent/%s",
			trail.ID(end), trail.ID(from))})
	}
	if stray {
		f(trail.Finding{Problem: "the index has terms of no records"})
	}
	return err
}

// sameSegment reports whether a segment has the terms of the records after a number.
func (s *auditLog) sameSegment(ctx context.Context, after, last uint64) (bool, error) {
	want, got := postings{}, postings{}
	rows, err := s.blocks(ctx, "where first > $1 and first <= $2 order by first", int64(after), int64(last))
	if err != nil {
		return false, err
	}
	x := trail.NewIndexer()
	for _, r := range rows {
		some, err := s.terms(x, r)
		if err != nil {
			return true, nil // it was found before
		}
		for _, rec := range some {
			want.add(rec)
		}
	}

	sound := true
	err = s.ask(ctx, func(rows pgx.Rows) error {
		var term, list []byte
		var of uint64
		if err := rows.Scan(&term, &of, &list); err != nil {
			return err
		}
		docs, ok := unpackDocs(list)
		sound = sound && ok && of == last
		for _, doc := range docs {
			if doc > after {
				got[string(term)] = append(got[string(term)], doc)
			}
		}
		return nil
	}, "select term, last, docs from posting where last > $1 and last <= $2", int64(after), int64(last))
	return sound && maps.EqualFunc(want, got, slices.Equal[[]uint64]), err
}
