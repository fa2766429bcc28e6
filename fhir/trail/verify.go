package trail

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// Finding is something wrong with the record, and where.
type Finding struct {
	Sequence uint64 // place in the chain; 0 when it is not known
	Doc      uint64 // number of the record (see ID); 0 when it is not known
	Problem  string // what is wrong, in words
}

// String names the place and the problem.
func (f Finding) String() string {
	var where []string
	if f.Sequence > 0 {
		where = append(where, "record "+strconv.FormatUint(f.Sequence, 10))
	}
	if f.Doc > 0 {
		where = append(where, "AuditEvent/"+ID(f.Doc))
	}
	if len(where) == 0 {
		return f.Problem
	}
	return strings.Join(where, ", ") + ": " + f.Problem
}

// Report is what Verify found.
type Report struct {
	Chain          // when it ended
	Records uint64 // that were read
	First   uint64 // number of the first of them; 0 if there was none
	// Findings are all that is wrong, at most maxFindings; More counts the rest.
	Findings []Finding
	More     int
}

// Intact reports whether nothing is wrong.
func (r *Report) Intact() bool {
	return len(r.Findings) == 0
}

const (
	maxFindings = 50
	perView     = 4096 // links read from one state of a store
)

// View passes f a state of a store.
type View func(ctx context.Context, f func(Reader) error) error

// Verify reads the whole chain, in parts, so that a store in use is not held up. It
// finds every record that was altered, removed, inserted or moved, the last ones
// included. earlier, unless it is zero, is a head that the chain had before, kept
// elsewhere: it must still be in it. The error is of the store.
func Verify(ctx context.Context, view View, earlier Place) (*Report, error) {
	v := &verifier{earlier: earlier}
	for first := true; ; first = false {
		n := 0
		err := view(ctx, func(r Reader) error {
			c, err := r.Chain(ctx)
			if err != nil {
				v.found(0, 0, "where the chain begins or ends cannot be read: "+err.Error())
				n = 0
				return ctx.Err()
			}

			v.begin(c, first)
			err = r.Links(ctx, v.at, func(l Link) bool {
				v.link(l)
				n++
				return n < perView
			})
			if err != nil || n == perView {
				return err
			}
			v.end()
			return r.Check(ctx, func(f Finding) {
				v.found(f.Sequence, f.Doc, f.Problem)
			})
		})
		if err != nil || n < perView {
			return &v.report, err
		}
	}
}

// verifier follows the chain.
type verifier struct {
	report  Report
	earlier Place
	met     bool   // earlier was in the chain
	at      uint64 // number of the last link
	last    Place  // of the last link that could be read
	lost    bool   // what came between cannot be read
}

func (v *verifier) found(sequence, doc uint64, problem string) {
	if len(v.report.Findings) == maxFindings {
		v.report.More++
		return
	}
	v.report.Findings = append(v.report.Findings, Finding{
		Sequence: sequence,
		Doc:      doc,
		Problem:  problem,
	})
}

// begin goes on in a later state of the chain.
func (v *verifier) begin(c Chain, first bool) {
	v.report.Chain = c
	if first || c.Anchor.Sequence > v.last.Sequence {
		v.last = c.Anchor // what is before it was removed meanwhile
	}
}

// link checks that a link follows the one before.
func (v *verifier) link(l Link) {
	v.at = max(v.at, l.Doc)
	if l.Err != nil {
		v.found(l.Sequence, l.Doc, "cannot be read: "+l.Err.Error())
		v.lost = true
		return
	}

	v.report.Records++
	if v.report.First == 0 {
		v.report.First = l.Doc
	}
	switch before := v.last; {
	case v.lost:
	case l.Doc <= before.Doc:
		v.found(l.Sequence, l.Doc, "was inserted: it is among records that have later numbers")
	case l.Sequence <= before.Sequence:
		v.found(l.Sequence, l.Doc, fmt.Sprintf(
			"was inserted or moved: the record before it is already number %d", before.Sequence))
	case l.Sequence > before.Sequence+1:
		v.found(l.Sequence, l.Doc, fmt.Sprintf("follows a gap: %s before it %s gone",
			records(l.Sequence-before.Sequence-1), isAre(l.Sequence-before.Sequence-1)))
	case l.Previous != before.Hash && before.Sequence == 0:
		v.found(l.Sequence, l.Doc, "is not the first: it names a record before it")
	case l.Previous != before.Hash:
		v.found(before.Sequence, before.Doc, fmt.Sprintf(
			"was altered or replaced: it does not have the hash that the next one (AuditEvent/%s) has of it",
			ID(l.Doc)))
	}

	v.lost = false
	v.last = l.Place
	if l.Sequence == v.earlier.Sequence {
		v.met = l.Hash == v.earlier.Hash
	}
}

// end compares the last record with the head, which is kept apart.
func (v *verifier) end() {
	head, last := v.report.Head, v.last
	switch {
	case head.Sequence > last.Sequence && v.lost: // already found
	case head.Sequence > last.Sequence:
		n := head.Sequence - last.Sequence
		v.found(head.Sequence, head.Doc, fmt.Sprintf(
			"was the last one: %s at the end %s gone", records(n), isAre(n)))
	case head.Sequence < last.Sequence:
		v.found(last.Sequence, last.Doc, fmt.Sprintf(
			"was added behind the last one, which is number %d", head.Sequence))
	case head != last:
		v.found(last.Sequence, last.Doc,
			"was altered or replaced: it is the last one, and does not have the hash that is kept of it")
	}

	switch e := v.earlier; {
	case e.Sequence == 0 || v.met:
	case e.Sequence == v.report.Anchor.Sequence && e.Hash == v.report.Anchor.Hash:
	case e.Sequence < v.report.Anchor.Sequence:
		v.found(e.Sequence, 0, "was the earlier head; it was removed as too old, so that nothing can be compared")
	case e.Sequence > head.Sequence:
		v.found(e.Sequence, 0, fmt.Sprintf(
			"was the earlier head, and the chain ends at record %d: an older file, such as a backup, is in its place",
			head.Sequence))
	default:
		v.found(e.Sequence, 0, "was the earlier head, and is not in the chain: the chain was made anew")
	}
}

func records(n uint64) string {
	if n == 1 {
		return "1 record"
	}
	return strconv.FormatUint(n, 10) + " records"
}

func isAre(n uint64) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// Checkpoint writes a place as SEQUENCE:HASH, to be kept elsewhere.
func (p Place) Checkpoint() string {
	return strconv.FormatUint(p.Sequence, 10) + ":" + p.Hash.String()
}

// ParseCheckpoint reads what Checkpoint wrote.
func ParseCheckpoint(s string) (p Place, ok bool) {
	number, hash, _ := strings.Cut(s, ":")
	n, err := strconv.ParseUint(number, 10, 64)
	b, failed := hex.DecodeString(hash)
	if err != nil || failed != nil || len(b) != len(p.Hash) {
		return p, false
	}
	return Place{
		Sequence: n,
		Hash:     Hash(b),
	}, true
}
