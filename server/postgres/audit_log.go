package postgres

import (
	"context"
	"encoding/binary"
	"slices"

	"github.com/jackc/pgx/v5"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/trail"
	"fhirdest.example/server/packed"
)

// auditLog are the audit records of a state.
//
// Each destination has a chain of its own. Its next place is read in the transaction
// that adds to it, under the lock of all writers, so that a chain cannot fork even when
// two destinations have one name. The rows of all destinations are a chain, too, which
// joins them: see trail.Joint. The cost is one row more for a commit, and one statement
// that is sent with the others; nothing is sent for each record.
type auditLog struct {
	*state
	fresh []trail.Packed    // to be stored with the commit
	ends  ends              // of a state that is being changed
	rows  map[uint64]*block // that were read, by the number of their first record
	tail  []indexed         // see readTail
	whole bool              // tail was read
}

var _ fhir.AuditStore = (*auditLog)(nil)

const (
	blockRecords = 128 // in a row, at most
	maxBlocks    = 256 // rows that are kept after they were read
)

// noBlock is the problem of a row that is not as it was written.
const noBlock = "the row of number %d is no block of records"

// ends are what a row of records follows.
type ends struct {
	own     trail.Place // the last record of this destination
	joint   []byte      // hash of the last row
	indexed uint64      // number behind which the tail begins
}

// queueEnds reads the ends, with the first batch of a transaction that changes the
// store.
func (s *auditLog) queueEnds(b *pgx.Batch) {
	b.Queue(
		"select j.head, i.last, coalesce(c.head_sequence, 0), coalesce(c.head_doc, 0), c.head_hash "+
			"from joint j cross join indexed i left join chain c on c.name = $1",
		s.store.name,
	).QueryRow(func(row pgx.Row) error {
		var hash []byte
		e := &s.ends
		err := row.Scan(&e.joint, &e.indexed, &e.own.Sequence, &e.own.Doc, &hash)
		copy(e.own.Hash[:], hash)
		return err
	})
}

// Append implements fhir.AuditStore.
func (s *auditLog) Append(_ context.Context, records []trail.Record) error {
	s.changing.wrote = true
	for i := range records {
		s.fresh = append(s.fresh, records[i].Pack())
	}
	return nil
}

// settle queues what stores the records of Append.
func (s *auditLog) settle(b *pgx.Batch) error {
	if len(s.fresh) == 0 {
		return nil
	}
	if len(s.ends.joint) != len(trail.Hash{}) {
		return s.damaged("joint", "its hash has %d bytes", len(s.ends.joint))
	}

	for some := range slices.Chunk(s.fresh, blockRecords) {
		s.queueBlock(b, some)
	}
	own := s.ends.own
	b.Queue("insert into chain values ($1, 0, 0, $2, $3, $4, $5) on conflict (name) do update "+
		"set head_sequence = excluded.head_sequence, head_doc = excluded.head_doc, head_hash = excluded.head_hash",
		s.store.name, make([]byte, len(trail.Hash{})), int64(own.Sequence), int64(own.Doc), own.Hash[:])
	b.Queue("update joint set head = $1", s.ends.joint)
	s.fresh = nil
	return nil
}

// queueBlock queues a row of records behind the ends, which it moves on.
func (s *auditLog) queueBlock(b *pgx.Batch, records []trail.Packed) {
	n := uint64(len(records))
	row := packed.Block{
		First:    s.numbers.docs + 1,
		Sequence: s.ends.own.Sequence + 1,
	}
	for i, p := range records {
		row.Links = append(row.Links, packed.Link{
			Packed:   p,
			Previous: s.ends.own.Hash,
		})
		s.ends.own = s.ends.own.Next(row.First+uint64(i), p)
	}

	change := s.numbers.changes + 1
	s.changing.changes = append(s.changing.changes, logged{
		seq:     change,
		doc:     row.First,
		version: 1,
		records: n,
		typ:     "AuditEvent",
	})
	b.Queue("insert into record values ($1, $2, $3, $4, $5, $6)",
		int64(row.First), int64(n), s.store.name, int64(change), s.ends.joint, row.Encode())

	joint := trail.Joint{
		Previous: trail.Hash(s.ends.joint),
		Change:   change,
	}.Next(s.store.name, s.ends.own)
	s.ends.joint = joint[:]
	s.numbers.docs += n
	s.numbers.changes += n
}

// block is a row of records.
type block struct {
	*packed.Block // nil when the row is damaged
	first         uint64
	records       int
	chain         string
	joint         trail.Joint
	err           error // why it is damaged
}

// blockColumns are those that scan reads.
const blockColumns = "first, records, chain, change, joint, block"

func (s *auditLog) scan(rows pgx.Rows) (*block, error) {
	var joint, text []byte
	r := &block{}
	if err := rows.Scan(&r.first, &r.records, &r.chain, &r.joint.Change, &joint, &text); err != nil {
		return nil, err
	}

	var ok bool
	r.Block, ok = packed.Decode(binary.BigEndian.AppendUint64(nil, r.first), text)
	if !ok || len(r.Links) != r.records || len(joint) != len(trail.Hash{}) ||
		!slices.Equal(r.Encode(), text) {
		r.err = s.damaged("record", noBlock, r.first)
		r.Block = nil
		return r, nil
	}
	r.joint.Previous = trail.Hash(joint)
	return r, nil
}

// blocks reads rows; clauses follow "from record".
func (s *auditLog) blocks(ctx context.Context, clauses string, args ...any) (all []*block, err error) {
	err = s.ask(ctx, func(rows pgx.Rows) error {
		r, err := s.scan(rows)
		all = append(all, r)
		return err
	}, "select "+blockColumns+" from record "+clauses, args...)
	return all, err
}

// oldest reads rows after a number, up to the one with which they have as many records
// as are asked for.
func (s *auditLog) oldest(ctx context.Context, after uint64, most int) ([]*block, error) {
	return s.blocks(ctx, "join (select first as f, sum(records) over (order by first) - records as before "+
		"from (select first, records from record where first > $1 order by first limit $2) as oldest) as counted "+
		"on f = first where before < $2 order by first", int64(after), most)
}

// Record implements fhir.AuditReader.
func (s *auditLog) Record(ctx context.Context, doc uint64) (rec *trail.Record, ok bool, err error) {
	found, err := s.records(ctx, []uint64{doc})
	if err != nil {
		return nil, false, err
	}
	if rec = found[doc]; rec == nil {
		err = s.neverGiven(ctx, doc)
	}
	return rec, rec != nil, err
}

// neverGiven returns an error for a number that was given to a resource or record,
// and leads to neither. Records that Expire removed may be gone.
func (s *auditLog) neverGiven(ctx context.Context, doc uint64) error {
	if doc == 0 || doc > s.numbers.docs {
		return nil
	}

	var explained bool
	err := s.ask(ctx, func(rows pgx.Rows) error {
		return rows.Scan(&explained)
	}, "select exists (select from doc where doc = $1) or "+
		"coalesce((select max(anchor_doc) from chain), 0) >= $1", int64(doc))
	if err == nil && !explained {
		err = s.damaged("record", "number %d is not there, though it was given", doc)
	}
	return err
}

// Records implements fhir.AuditReader.
func (s *auditLog) Records(
	ctx context.Context, docs []uint64, f func(doc uint64, rec *trail.Record) bool,
) (done int, err error) {
	for some := range slices.Chunk(docs, manyEntries) {
		found, err := s.records(ctx, some)
		if err != nil {
			return done, err
		}

		for _, doc := range some {
			rec := found[doc]
			if rec == nil {
				return done, nil
			}
			done++
			if !f(doc, rec) {
				return done, nil
			}
		}
	}
	return done, nil
}

// records reads records by their numbers. Those that are not there are left out.
func (s *auditLog) records(ctx context.Context, docs []uint64) (map[uint64]*trail.Record, error) {
	var ask []int64
	for _, doc := range docs {
		if s.row(doc) == nil && doc > 0 && doc <= lastNumber {
			ask = append(ask, int64(doc))
		}
	}

	if len(ask) > 0 {
		read, err := s.blocks(ctx, "where first = any(array("+
			"select (select max(first) from record where first <= d) from unnest($1::bigint[]) as d))", ask)
		if err != nil {
			return nil, err
		}
		s.keepBlocks(read)
	}

	found := make(map[uint64]*trail.Record, len(docs))
	for _, doc := range docs {
		b := s.row(doc)
		switch {
		case b == nil:
			continue
		case b.err != nil:
			return nil, b.err
		}
		rec, err := b.Links[doc-b.first].Unpack()
		if err != nil {
			return nil, s.damaged("record", noBlock, b.first)
		}
		found[doc] = rec
	}
	return found, nil
}

// row returns the row that has a record, if it was read before.
func (s *auditLog) row(doc uint64) *block {
	for back := range uint64(blockRecords) {
		b := s.rows[doc-back]
		if b != nil && back < uint64(b.records) {
			return b
		}
		if b != nil || doc == back {
			return nil
		}
	}
	return nil
}

// keepBlocks keeps rows that were read: a search reads terms, then bodies.
func (s *auditLog) keepBlocks(all []*block) {
	if s.rows == nil || len(s.rows)+len(all) > maxBlocks {
		s.rows = make(map[uint64]*block, len(all))
	}
	for _, b := range all {
		s.rows[b.first] = b
	}
}
