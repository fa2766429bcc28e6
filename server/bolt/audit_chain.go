package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"time"

	"go.etcd.io/bbolt"

	"fhirdest.example/fhir/trail"
	"fhirdest.example/server/bolt/packed"
)

// Chain implements trail.Reader.
func (s *auditLog) Chain(context.Context) (c trail.Chain, err error) {
	var failed error
	c.Anchor, err = s.place(anchorKey)
	c.Head, failed = s.place(headKey)
	return c, errors.Join(err, failed)
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
			Place:    b.Place(i).Next(doc, l.Packed),
			Previous: l.Previous,
		}
		link.Record, link.Err = l.Unpack()
		if !f(link) {
			return false
		}
	}
	return true
}

// Expire implements fhir.AuditStore. It removes whole blocks, those that are in
// their place in the chain: what was altered stays, for Verify to find.
func (s *auditLog) Expire(
	ctx context.Context, before time.Time, most int,
) (removed int, err error) {
	anchor, err := s.place(anchorKey)
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
		end, ok := b.Follow(anchor)
		if !ok {
			return 0, records.damaged(k, "does not follow the records that were removed before")
		}

		anchor = end
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
	return removed, errors.Join(err, s.putPlace(anchorKey, anchor), s.forget(anchor.Doc))
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
	k, v := h.cursor.First()
	for ; k != nil; k, v = h.cursor.Next() {
		if err := h.set(k, v); err != nil {
			return err
		}
		if h.doc > doc {
			break
		}
		gone = append(gone, bytes.Clone(k))
	}

	for _, k := range gone {
		err = errors.Join(
			err,
			t.Delete(k),
			s.in(settingsTable).put(forgottenKey, k),
		)
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
