package postgres

import (
	"bytes"
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/trail"
)

var _ fhir.AuditStore = (*auditLog)(nil)

// auditLog are the audit records of a state.
type auditLog struct {
	*state
	fresh []trail.Packed // to be stored with the commit
}

// Append implements fhir.AuditStore.
func (s *auditLog) Append(_ context.Context, records []trail.Record) error {
	s.changing.wrote = true
	for i := range records {
		s.fresh = append(s.fresh, records[i].Pack())
	}
	return nil
}

// dropIndex has the records indexed again.
func (s *auditLog) dropIndex(context.Context) error { return nil }

// settle queues what stores the records of Append.
func (s *auditLog) settle(b *pgx.Batch) error {
	if len(s.fresh) == 0 {
		return nil
	}
	head, err := s.place(context.Background(), "head")
	if err != nil {
		return err
	}

	first := s.numbers.docs + 1
	for _, p := range s.fresh {
		previous := head.Hash
		s.numbers.docs++
		head = head.Next(s.numbers.docs, p)
		b.Queue("insert into record values ($1, $2, $3, $4, $5, $6)",
			int64(head.Doc), int64(head.Sequence), previous[:], notNull(p.Who), notNull(p.Asked), notNull(p.Own))
	}

	n := uint64(len(s.fresh))
	s.changing.changes = append(s.changing.changes, logged{
		seq:     s.numbers.changes + 1,
		doc:     first,
		version: 1,
		records: n,
		typ:     "AuditEvent",
	})
	s.numbers.changes += n
	s.fresh = nil
	queuePlace(b, "head", head)
	return nil
}

// place reads a place in the chain; the start when there is none.
func (s *auditLog) place(ctx context.Context, name string) (p trail.Place, err error) {
	var hash []byte
	err = s.ask(ctx, func(rows pgx.Rows) error {
		return rows.Scan(&p.Sequence, &p.Doc, &hash)
	}, "select sequence, doc, hash from place where name = $1", name)
	copy(p.Hash[:], hash)
	return p, err
}

func queuePlace(b *pgx.Batch, name string, p trail.Place) {
	b.Queue("insert into place values ($1, $2, $3, $4) on conflict (name) do update "+
		"set sequence = excluded.sequence, doc = excluded.doc, hash = excluded.hash",
		name, int64(p.Sequence), int64(p.Doc), p.Hash[:])
}

// readRecords reads records in the order of their numbers.
func (s *auditLog) readRecords(
	ctx context.Context, where string, args ...any,
) (links []trail.Link, err error) {
	err = s.ask(ctx, func(rows pgx.Rows) error {
		var l trail.Link
		var p trail.Packed
		var previous []byte
		if err := rows.Scan(&l.Doc, &l.Sequence, &previous, &p.Who, &p.Asked, &p.Own); err != nil {
			return err
		}
		copy(l.Previous[:], previous)
		rec, bad := p.Unpack()
		if bad != nil {
			l.Err = s.damaged("record", "number %d is no record", l.Doc)
		} else {
			l.Record = rec
			l.Place = trail.Place{Sequence: l.Sequence - 1, Hash: l.Previous}.Next(l.Doc, p)
		}
		links = append(links, l)
		return nil
	}, "select doc, sequence, previous, who, asked, own from record where "+where+" order by doc", args...)
	return links, err
}

// Record implements fhir.AuditReader.
func (s *auditLog) Record(ctx context.Context, doc uint64) (rec *trail.Record, ok bool, err error) {
	links, err := s.readRecords(ctx, "doc = $1", int64(doc))
	if err != nil || len(links) == 0 {
		return nil, false, err
	}
	return links[0].Record, links[0].Err == nil, links[0].Err
}

// Records implements fhir.AuditReader.
func (s *auditLog) Records(
	ctx context.Context, docs []uint64, f func(doc uint64, rec *trail.Record) bool,
) (int, error) {
	for n, doc := range docs {
		rec, ok, err := s.Record(ctx, doc)
		if !ok || err != nil {
			return n, err
		}
		if !f(doc, rec) {
			return n + 1, nil
		}
	}
	return len(docs), nil
}

// Scan implements fhir.AuditReader.
func (s *auditLog) Scan(
	ctx context.Context, from, to []byte, f func(term []byte, doc uint64) bool,
) error {
	more := true
	return s.each(ctx, 0, func(l trail.Link) bool {
		l.Record.Terms(trail.ID(l.Doc)).Each(func(term []byte) bool {
			key := appendIndexKey(nil, term, l.Doc)
			more = bytes.Compare(key, from) < 0 || bytes.Compare(key, to) >= 0 || f(term, l.Doc)
			return more
		})
		return more
	})
}

// Extent implements trail.Reader.
func (s *auditLog) Extent(ctx context.Context) (trail.Extent, error) {
	c := trail.Chain{}
	var err error
	if c.Anchor, err = s.place(ctx, "anchor"); err == nil {
		c.Head, err = s.place(ctx, "head")
	}
	return trail.Extent{Chains: []trail.Chain{c}}, err
}

// Links implements trail.Reader.
func (s *auditLog) Links(ctx context.Context, after uint64, f func(trail.Link) bool) error {
	return s.each(ctx, after, f)
}

func (s *auditLog) each(ctx context.Context, after uint64, f func(trail.Link) bool) error {
	for {
		links, err := s.readRecords(ctx, "doc > $1 and doc <= $1 + 1000", int64(after))
		if err != nil {
			return err
		}
		for _, l := range links {
			if !f(l) {
				return nil
			}
		}
		if after += 1000; after >= s.numbers.docs {
			return nil
		}
	}
}

// Check implements trail.Reader.
func (s *auditLog) Check(context.Context, func(trail.Finding)) error { return nil }

// Expire implements fhir.AuditStore.
func (s *auditLog) Expire(ctx context.Context, before time.Time, most int) (removed int, err error) {
	anchor, err := s.place(ctx, "anchor")
	if err != nil {
		return 0, err
	}
	links, err := s.readRecords(ctx, "doc > $1 and doc <= $1 + $2", int64(anchor.Doc), most)
	for _, l := range links {
		if l.Err != nil || !l.Record.At.Before(before) {
			break
		}
		anchor = l.Place
		removed++
	}
	if removed == 0 || err != nil {
		return 0, err
	}

	s.changing.wrote = true
	b := &pgx.Batch{}
	b.Queue("delete from record where doc <= $1", int64(anchor.Doc))
	b.Queue("delete from change where type = 'AuditEvent' and doc + records <= $1 + 1", int64(anchor.Doc))
	b.Queue("update change set seq = seq + $1 + 1 - doc, records = records - ($1 + 1 - doc), doc = $1 + 1 "+
		"where type = 'AuditEvent' and doc <= $1", int64(anchor.Doc))
	queuePlace(b, "anchor", anchor)
	return removed, s.read(ctx, b)
}
