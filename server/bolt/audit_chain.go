package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"fhirdest.example/fhir/trail"
	"fhirdest.example/server/packed"
)

// Names of settings. A file that was restored from the backup of a database has the
// chains of the destinations on it, which end there: each under chainPrefix and its
// name, with the places of anchor and head. What joined their commits goes on when the
// file is restored into a database.
var (
	chainPrefix = []byte("audit-chain:")
	joinedKey   = []byte("audit-joined")
	newestKey   = []byte("audit-newest")
)

// Extent implements trail.Reader.
func (s *auditLog) Extent(context.Context) (e trail.Extent, err error) {
	own := trail.Chain{}
	var failed [4]error
	own.Anchor, failed[0] = s.place(anchorKey)
	own.Head, failed[1] = s.place(headKey)
	e.Joined, failed[2] = s.hash(joinedKey)
	e.Newest, failed[3] = s.hash(newestKey)
	if err := errors.Join(failed[:]...); err != nil {
		return e, err
	}

	e.Chains = append(e.Chains, own)
	settings := s.in(settingsTable)
	c := settings.Cursor()
	for k, v := c.Seek(chainPrefix); bytes.HasPrefix(k, chainPrefix); k, v = c.Next() {
		chain, err := s.foreign(k, v)
		if err != nil {
			return e, err
		}
		e.Chains = append(e.Chains, chain)
	}
	return e, nil
}

// foreign decodes a setting of the chain of another destination.
func (s *auditLog) foreign(k, sealed []byte) (c trail.Chain, err error) {
	settings := s.in(settingsTable)
	v, err := settings.unseal(k, sealed)
	if err != nil {
		return c, err
	}
	if len(v) != 2*placeLength {
		return c, settings.damaged(k, "is no chain of records")
	}

	c.Name = string(k[len(chainPrefix):])
	c.Anchor, _ = decodePlace(v[:placeLength])
	c.Head, _ = decodePlace(v[placeLength:])
	return c, nil
}

// putChain stores the extent of a chain.
func (s *auditLog) putChain(c trail.Chain) error {
	if c.Name == "" {
		return errors.Join(s.putPlace(anchorKey, c.Anchor), s.putPlace(headKey, c.Head))
	}
	key := append(bytes.Clone(chainPrefix), c.Name...)
	return s.in(settingsTable).put(key, appendPlace(appendPlace(nil, c.Anchor), c.Head))
}

// hash reads a hash from the settings; zero when there is none.
func (s *auditLog) hash(key []byte) (h trail.Hash, err error) {
	v, err := s.in(settingsTable).get(key)
	if v == nil {
		return h, err
	}
	if len(v) != len(h) {
		return h, s.in(settingsTable).damaged(key, "is no hash")
	}
	return trail.Hash(v), nil
}

// putHash stores a hash; a zero one is not stored.
func (s *auditLog) putHash(key []byte, h trail.Hash) error {
	if h == (trail.Hash{}) {
		return nil
	}
	return s.in(settingsTable).put(key, h[:])
}

// expired returns the number up to which records were removed.
func (s *auditLog) expired() (doc uint64, err error) {
	e, err := s.Extent(context.Background())
	for _, c := range e.Chains {
		doc = max(doc, c.Anchor.Doc)
	}
	return doc, err
}

// Links implements trail.Reader.
func (s *auditLog) Links(
	ctx context.Context, after uint64, f func(trail.Link) bool,
) error {
	c := s.in(recordsTable).Cursor()
	for k, v := seekBlock(c, after); k != nil; k, v = c.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}

		b, err := s.strictBlock(k, v)
		if err != nil {
			if first := keyNumber(k); (first != after || first == 0) && !f(trail.Link{
				Place: trail.Place{Doc: first},
				Err:   err,
			}) {
				return nil
			}
			continue
		}

		if more := eachLink(b, after, f); !more {
			return nil
		}
	}

	return nil
}

// seekBlock goes to the row that may have the record after a number.
func seekBlock(c *bbolt.Cursor, after uint64) (k, v []byte) {
	next, _ := c.Seek(number(after + 1))
	if next == nil {
		k, v = c.Last()
	} else if k, v = c.Prev(); k == nil {
		return c.First()
	}
	return k, v
}

func keyNumber(k []byte) uint64 {
	if len(k) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(k)
}

// strictBlock decodes a row, and refuses one that is not written as encode does.
func (s *auditLog) strictBlock(k, sealed []byte) (*packed.Block, error) {
	b, err := s.block(k, sealed)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(b.Encode(), sealed[:len(sealed)-checksum]) {
		return nil, s.in(recordsTable).damaged(k, noBlock)
	}
	return b, nil
}

// eachLink calls f with the links after a number until it returns false.
func eachLink(b *packed.Block, after uint64, f func(trail.Link) bool) (more bool) {
	for i, l := range b.Links {
		doc := b.First + uint64(i)
		if doc <= after {
			continue
		}

		link := trail.Link{
			Chain:    b.Chain,
			Place:    b.Place(i).Next(doc, l.Packed),
			Previous: l.Previous,
		}
		if i == len(b.Links)-1 {
			link.Joint = b.Joint
		}
		link.Record, link.Err = l.Unpack()
		if !f(link) {
			return false
		}
	}
	return true
}

// Check implements trail.Reader. Every number was given to a resource or to a record,
// and every row of records has its row in the log of changes.
func (s *auditLog) Check(ctx context.Context, f func(trail.Finding)) error {
	extent, err := s.Extent(ctx)
	if err != nil {
		return err
	}
	var records uint64
	for _, c := range extent.Chains {
		records += c.Head.Sequence
	}

	docs := s.in(docsTable)
	resources := uint64(docs.Stats().KeyN)
	if given := docs.Sequence(); given != resources+records {
		f(trail.Finding{Problem: fmt.Sprintf(
			"%d numbers were given; there are %d resources, and %d records by the end of the chain",
			given, resources, records)})
	}
	return s.checkLogged(ctx, f)
}

// checkLogged compares the rows of records with the log of changes.
func (s *auditLog) checkLogged(ctx context.Context, f func(trail.Finding)) error {
	records, logs := s.in(recordsTable), s.in(logTable)
	name := []byte("AuditEvent")
	listed := logs.Bucket.Bucket(name)
	if listed == nil {
		if k, _ := records.Cursor().First(); k != nil {
			f(trail.Finding{Problem: "the log of changes has no records"})
		}
		return nil
	}

	rows, changes := records.Cursor(), listed.Cursor()
	h := head{
		cursor: changes,
		log:    table{logs.within(name), listed, s.state},
	}
	k, v := rows.First()
	at, change := changes.First()
	for k != nil || at != nil {
		if err := ctx.Err(); err != nil {
			return err
		}

		first, n := keyNumber(k), uint64(0)
		if len(v) > 0 {
			n = packed.Records(v)
		}
		err := h.set(at, change)
		if err != nil || at == nil || k == nil || h.version != 1 ||
			h.doc-h.more != first || h.more+1 != n {
			f(trail.Finding{
				Doc:     first,
				Problem: "the log of changes does not list the records from here on as they are",
			})
			return nil
		}
		k, v = rows.Next()
		at, change = changes.Next()
	}
	return nil
}

// Expire implements fhir.AuditStore. It removes whole blocks, those that are in
// their place in their chain: what was altered stays, for Verify to find.
func (s *auditLog) Expire(
	ctx context.Context, before time.Time, most int,
) (removed int, err error) {
	x, err := s.expiring(ctx)
	if err != nil {
		return 0, err
	}

	records := s.in(recordsTable)
	c := records.Cursor()
	var gone [][]byte
	for k, v := c.First(); k != nil && removed < most; k, v = c.Next() {
		if err := ctx.Err(); err != nil {
			return 0, err
		}

		b, err := s.strictBlock(k, v)
		if err != nil {
			return 0, err
		}
		if !b.Before(before) {
			break
		}
		if !x.follow(b) {
			return 0, records.damaged(k, "does not follow the records that were removed before")
		}

		removed += len(b.Links)
		gone = append(gone, bytes.Clone(k))
	}

	if removed == 0 {
		return 0, nil
	}
	s.wrote = true
	for _, k := range gone {
		err = errors.Join(err, records.Delete(k))
	}
	return removed, errors.Join(err, x.put(s), s.forget(x.doc))
}

// expiring is how far records are removed from the chains.
type expiring struct {
	chains map[string]*trail.Chain
	joined trail.Hash
	doc    uint64 // number of the last record
}

func (s *auditLog) expiring(ctx context.Context) (*expiring, error) {
	e, err := s.Extent(ctx)
	x := &expiring{
		chains: map[string]*trail.Chain{},
		joined: e.Joined,
	}
	for _, c := range e.Chains {
		x.chains[c.Name] = &c
	}
	return x, err
}

// follow moves the anchor of a chain to the end of the block, if it is the next.
func (x *expiring) follow(b *packed.Block) bool {
	c := x.chains[b.Chain]
	if c == nil {
		return false
	}
	end, ok := b.Follow(c.Anchor)
	if !ok {
		return false
	}

	c.Anchor = end
	x.doc = end.Doc
	if b.Joint != nil {
		x.joined = b.Joint.Next(b.Chain, end)
	}
	return true
}

// put stores the anchors.
func (x *expiring) put(s *auditLog) (err error) {
	for _, c := range x.chains {
		err = errors.Join(err, s.putChain(*c))
	}
	return errors.Join(err, s.putHash(joinedKey, x.joined))
}

// forget removes what the log of changes and the index have of records up to a number.
func (s *auditLog) forget(doc uint64) error {
	return errors.Join(s.forgetLogged(doc), s.forgetIndexed(doc))
}

func (s *auditLog) forgetLogged(doc uint64) error {
	t, err := s.logOf("AuditEvent")
	if err != nil {
		return err
	}

	h := head{
		cursor: t.Cursor(),
		log:    *t,
	}
	var gone [][]byte
	var last uint64
	for k, v := h.cursor.First(); k != nil; k, v = h.cursor.Next() {
		if err := h.set(k, v); err != nil {
			return err
		}
		if h.doc > doc {
			break
		}
		last = h.seq
		gone = append(gone, bytes.Clone(k))
	}

	for _, k := range gone {
		err = errors.Join(err, t.Delete(k))
	}
	if len(gone) > 0 {
		err = errors.Join(err, s.in(settingsTable).put(forgottenKey, number(last)))
	}
	return err
}

func (s *auditLog) forgetIndexed(doc uint64) error {
	t, err := s.tail()
	if err != nil {
		return err
	}

	segments := s.in(segmentsTable)
	c := segments.Cursor()
	var gone [][]byte
	for k, _ := c.First(); k != nil; {
		next, _ := c.Next()
		end := t.after
		if next != nil {
			end = keyNumber(next) - 1
		}
		if end > doc {
			break
		}
		gone = append(gone, bytes.Clone(k))
		k = next
	}

	for _, k := range gone {
		err = errors.Join(err, segments.Delete(k))
	}
	if t.after < doc {
		t.after = doc
		err = errors.Join(err, s.putTail(t))
	}
	return err
}

// VerifyAudit verifies the audit record of a file of resources which no server has
// open, as trail.Verify does: that of a stopped destination, or of a backup. The file
// is not changed.
func VerifyAudit(ctx context.Context, path string, earlier trail.Checkpoint) (*trail.Report, error) {
	db, err := openThere(path)
	if err != nil {
		return nil, err
	}
	defer db.Close() // nothing was written

	version, err := checkSchema(db, fhirSchema)
	if err != nil {
		return nil, err
	}
	if version < fhirSchema.Version {
		return nil, &Error{
			Path:    path,
			Problem: fmt.Sprintf("has layout %d; records are chained since layout 6", version),
			Hint:    "start the destination once: it brings the file to the present layout",
		}
	}

	s := &FHIR{
		db:     db,
		health: &health{},
	}
	return s.VerifyAudit(ctx, earlier)
}

// VerifyAudit verifies the audit record while the file is in use.
func (s *FHIR) VerifyAudit(ctx context.Context, earlier trail.Checkpoint) (*trail.Report, error) {
	return trail.Verify(ctx, func(ctx context.Context, f func(trail.Reader) error) error {
		return s.view(ctx, func(st *state) error {
			return f(&st.audit)
		})
	}, earlier)
}
