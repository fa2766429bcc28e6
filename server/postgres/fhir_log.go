package postgres

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"
)

// logged is a row of the log of changes.
type logged struct {
	seq, doc, version uint64
	records           uint64 // of a row of records: how many; else 1
	typ               string
}

// each calls f with the changes of a row before a number, newest first, until it
// returns false.
func (l logged) each(before uint64, f func(seq, doc, version uint64) bool) bool {
	n := l.records
	if before > 0 {
		n = min(n, before-l.seq)
	}
	for ; n > 0; n-- {
		if !f(l.seq+n-1, l.doc+n-1, l.version) {
			return false
		}
	}
	return true
}

// changesAtOnce is how many rows of the log are read at first; then more.
const changesAtOnce = 64

// Changes implements fhir.Resources.
func (s *state) Changes(
	ctx context.Context, typ string, before uint64, f func(seq, doc, version uint64) bool,
) error {
	if !s.changing.eachChange(typ, before, f) {
		return nil
	}

	for size := changesAtOnce; ; size = min(4*size, manyEntries) {
		page, err := s.readChanges(ctx, typ, before, size)
		if err != nil {
			return err
		}
		for _, l := range page {
			if !l.each(before, f) {
				return nil
			}
			before = l.seq
		}
		if len(page) < size || before <= 1 {
			return nil
		}
	}
}

// eachChange calls f with the changes of a transaction; there are none when it only
// reads.
func (p *pending) eachChange(
	typ string, before uint64, f func(seq, doc, version uint64) bool,
) bool {
	if p == nil {
		return true
	}
	for _, l := range slices.Backward(p.changes) {
		if typ != "" && l.typ != typ || before > 0 && l.seq >= before {
			continue
		}
		if !l.each(before, f) {
			return false
		}
	}
	return true
}

func (s *state) readChanges(
	ctx context.Context, typ string, before uint64, size int,
) (page []logged, err error) {
	sql := "select seq, doc, version, records from change where seq < $1 "
	args := []any{int64(before), size}
	if before == 0 {
		args[0] = int64(lastNumber)
	}
	if typ != "" {
		sql += "and type = $3 "
		args = append(args, typ)
	}

	err = s.ask(ctx, func(rows pgx.Rows) error {
		var l logged
		err := rows.Scan(&l.seq, &l.doc, &l.version, &l.records)
		page = append(page, l)
		return err
	}, sql+"order by seq desc limit $2", args...)
	return page, err
}

// LastChange implements fhir.Dated for Consents. How far the log of another type reaches
// is not known.
func (s *state) LastChange(_ context.Context, typ string) (number uint64, log any) {
	if typ != "Consent" {
		return 0, nil
	}
	if s.changing != nil {
		return s.numbers.consents, s.numbers.origin
	}
	s.dated = s.dated || s.base.consents > 0
	return s.base.consents, s.base.origin
}

// lastNumber is above all numbers that are given.
const lastNumber = 1<<63 - 1
