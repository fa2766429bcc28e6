package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/trail"
)

// Extent implements trail.Reader.
func (s *auditLog) Extent(ctx context.Context) (e trail.Extent, err error) {
	b := &pgx.Batch{}
	queueRows(b, func(rows pgx.Rows) error {
		c, err := s.scanChain(rows)
		e.Chains = append(e.Chains, c)
		return err
	}, "select name, anchor_sequence, anchor_doc, anchor_hash, head_sequence, head_doc, head_hash "+
		"from chain order by name")

	n := 0
	queueRows(b, func(rows pgx.Rows) error {
		n++
		var anchor, head []byte
		if err := rows.Scan(&anchor, &head); err != nil {
			return err
		}
		if len(anchor) != len(e.Joined) || len(head) != len(e.Newest) {
			return s.damaged("joint", "a hash has another length")
		}
		e.Joined, e.Newest = trail.Hash(anchor), trail.Hash(head)
		return nil
	}, "select anchor, head from joint")

	if err = s.state.read(ctx, b); err == nil && n != 1 {
		err = s.damaged("joint", "it has %d rows", n)
	}
	return e, err
}

func (s *auditLog) scanChain(rows pgx.Rows) (c trail.Chain, err error) {
	var anchor, head []byte
	err = rows.Scan(&c.Name, &c.Anchor.Sequence, &c.Anchor.Doc, &anchor, &c.Head.Sequence, &c.Head.Doc, &head)
	if err != nil {
		return c, err
	}
	if len(anchor) != len(c.Anchor.Hash) || len(head) != len(c.Head.Hash) {
		return c, s.damaged("chain", "a hash of %q has another length", c.Name)
	}
	c.Anchor.Hash, c.Head.Hash = trail.Hash(anchor), trail.Hash(head)
	return c, nil
}

// Bounds of how many rows of records are read at once.
const (
	fewBlocks  = 32
	manyBlocks = 256
)

// Links implements trail.Reader.
func (s *auditLog) Links(ctx context.Context, after uint64, f func(trail.Link) bool) error {
	if after >= lastNumber {
		return nil
	}

	from := "first >= coalesce((select max(first) from record where first <= $1), 0)"
	next := after + 1
	for size := fewBlocks; ; size = min(2*size, manyBlocks) {
		page, err := s.blocks(ctx, "where "+from+" order by first limit $2", int64(next), size)
		if err != nil {
			return err
		}
		for _, r := range page {
			if more := r.each(after, f); !more {
				return nil
			}
		}
		if len(page) < size {
			return nil
		}
		from = "first >= $1"
		next = page[len(page)-1].first + 1
	}
}

// each calls f with the links after a number until it returns false.
func (r *block) each(after uint64, f func(trail.Link) bool) (more bool) {
	if r.err != nil {
		return r.first == after && after > 0 || f(trail.Link{
			Chain: r.chain,
			Place: trail.Place{Doc: r.first},
			Err:   r.err,
		})
	}

	for i, l := range r.Links {
		doc := r.first + uint64(i)
		if doc <= after {
			continue
		}

		link := trail.Link{
			Chain:    r.chain,
			Place:    r.Place(i).Next(doc, l.Packed),
			Previous: l.Previous,
		}
		if i == len(r.Links)-1 {
			link.Joint = &r.joint
		}
		link.Record, link.Err = l.Unpack()
		if !f(link) {
			return false
		}
	}
	return true
}

// Expire implements fhir.AuditStore. It removes whole rows, the oldest of all
// destinations, also of one that is gone: those that are in their places in the
// chains. What was altered stays, for Verify to find.
func (s *auditLog) Expire(
	ctx context.Context, before time.Time, most int,
) (removed int, err error) {
	e, err := s.Extent(ctx)
	if err != nil {
		return 0, err
	}
	anchors := map[string]trail.Place{}
	for _, c := range e.Chains {
		anchors[c.Name] = c.Anchor
	}

	page, err := s.oldest(ctx, 0, most)
	if err != nil {
		return 0, err
	}
	touched := map[string]trail.Place{}
	var last *block
	for _, r := range page {
		if r.err != nil {
			return 0, r.err
		}
		if !r.Before(before) {
			break
		}
		end, ok := r.Follow(anchors[r.chain])
		if !ok || r.joint.Previous != e.Joined {
			return 0, s.damaged("record", "number %d does not follow the records that were removed before", r.first)
		}

		anchors[r.chain], touched[r.chain] = end, end
		e.Joined = r.joint.Next(r.chain, end)
		removed += r.records
		last = r
	}

	if last == nil {
		return 0, nil
	}
	return removed, s.forget(ctx, last, touched, e.Joined)
}

// forget removes all up to a row.
func (s *auditLog) forget(
	ctx context.Context, last *block, anchors map[string]trail.Place, joined trail.Hash,
) error {
	s.changing.wrote = true
	doc := int64(last.first) + int64(last.records) - 1

	b := &pgx.Batch{}
	b.Queue("update indexed set last = greatest(last, $1)", doc) // first: who indexes has ended then
	b.Queue("delete from record where first <= $1", doc)
	b.Queue("delete from change where type = 'AuditEvent' and seq <= $1", int64(last.joint.Change))
	b.Queue("delete from posting where last <= $1", doc)
	b.Queue("delete from segment where last <= $1", doc)
	for name, p := range anchors {
		b.Queue("update chain set anchor_sequence = $2, anchor_doc = $3, anchor_hash = $4 where name = $1",
			name, int64(p.Sequence), int64(p.Doc), p.Hash[:])
	}
	b.Queue("update joint set anchor = $1", joined[:])

	s.rows, s.tail, s.whole = nil, nil, false
	return s.state.read(ctx, b)
}

// perCheck is how many numbers are counted at once.
const perCheck = 100_000

// Check implements trail.Reader. Every number was given to a resource or to a record,
// every row of records has its row in the log of changes, and the index has the terms
// of the records and no others.
func (s *auditLog) Check(ctx context.Context, f func(trail.Finding)) error {
	e, err := s.Extent(ctx)
	if err != nil {
		return err
	}
	if err := s.checkNumbers(ctx, e, f); err != nil {
		return err
	}
	if err := s.checkLogged(ctx, f); err != nil {
		return err
	}
	return s.checkIndex(ctx, e, f)
}

// sum adds what a query finds in ranges of numbers up to last; $1 and $2 bound a range.
func (s *auditLog) sum(ctx context.Context, sql string, last uint64) (total uint64, err error) {
	for from := uint64(0); from <= last && err == nil; from += perCheck {
		var n uint64
		err = s.ask(ctx, func(rows pgx.Rows) error {
			return rows.Scan(&n)
		}, sql, int64(from), int64(from+perCheck))
		total += n
	}
	return total, err
}

func (s *auditLog) checkNumbers(ctx context.Context, e trail.Extent, f func(trail.Finding)) error {
	var records, removed uint64
	for _, c := range e.Chains {
		records += c.Head.Sequence
		removed += c.Anchor.Sequence
	}

	resources, err := s.sum(ctx, "select count(*) from doc where doc > $1 and doc <= $2", s.numbers.docs)
	if err != nil {
		return err
	}
	if s.numbers.docs != resources+records {
		f(trail.Finding{Problem: fmt.Sprintf(
			"%d numbers were given; there are %d resources, and %d records by the ends of the chains",
			s.numbers.docs, resources, records)})
	}

	changes, err := s.sum(ctx,
		"select coalesce(sum(records), 0) from change where seq > $1 and seq <= $2", s.numbers.changes)
	if err == nil && s.numbers.changes != changes+removed {
		f(trail.Finding{Problem: fmt.Sprintf(
			"%d changes were made; the log of changes has %d, and %d were removed as too old",
			s.numbers.changes, changes, removed)})
	}
	return err
}

// checkLogged compares the rows of records with the log of changes.
func (s *auditLog) checkLogged(ctx context.Context, f func(trail.Finding)) error {
	const unequal = "select coalesce(r.first, c.doc) from " +
		"(select * from record where change > $1 and change <= $2) r full join " +
		"(select * from change where type = 'AuditEvent' and seq > $1 and seq <= $2) c on c.seq = r.change " +
		"where r.first is distinct from c.doc or r.records is distinct from c.records or c.version <> 1 " +
		"order by 1 limit 1"
	for from := uint64(0); from <= s.numbers.changes; from += perCheck {
		var first uint64
		err := s.ask(ctx, func(rows pgx.Rows) error {
			return rows.Scan(&first)
		}, unequal, int64(from), int64(from+perCheck))
		if err != nil {
			return err
		}
		if first > 0 {
			f(trail.Finding{
				Doc:     first,
				Problem: "the log of changes does not list the records from here on as they are",
			})
			return nil
		}
	}
	return nil
}

// VerifyAudit verifies the audit records of all destinations while they run, as
// trail.Verify does.
func (s *FHIR) VerifyAudit(ctx context.Context, earlier trail.Checkpoint) (*trail.Report, error) {
	return trail.Verify(ctx, func(ctx context.Context, f func(trail.Reader) error) error {
		return s.View(ctx, func(sn fhir.Snapshot) error {
			return f(sn.Audit())
		})
	}, earlier)
}
