package trail

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// Finding is something wrong with the record, and where.
type Finding struct {
	Chain    string // its name; empty when it is not known or there is one alone
	Sequence uint64 // place in the chain; 0 when it is not known
	Doc      uint64 // number of the record (see ID); 0 when it is not known
	Problem  string // what is wrong, in words
}

// String names the place and the problem.
func (f Finding) String() string {
	var where []string
	if f.Chain != "" {
		where = append(where, "chain "+f.Chain)
	}
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
	Chains []Verified // in the order of their names
	// Findings are all that is wrong, at most maxFindings; More counts the rest.
	Findings []Finding
	More     int
}

// Verified is what Verify read of one chain.
type Verified struct {
	Chain          // when it ended
	Records uint64 // that were read
	First   uint64 // number of the first of them; 0 if there was none
}

// Intact reports whether nothing is wrong.
func (r *Report) Intact() bool {
	return len(r.Findings) == 0
}

// Checkpoint returns the heads of all chains.
func (r *Report) Checkpoint() Checkpoint {
	out := Checkpoint{}
	for _, c := range r.Chains {
		if c.Head.Sequence > 0 {
			out[c.Name] = c.Head
		}
	}
	return out
}

const (
	maxFindings = 50
	perView     = 4096 // links read from one state of a store
)

// View passes f a state of a store.
type View func(ctx context.Context, f func(Reader) error) error

// Verify reads all chains, in parts, so that a store in use is not held up. It finds
// every record that was altered, removed, inserted or moved, the last ones included,
// and, where several destinations share the store, a chain that was removed whole.
// earlier has heads that the chains had before, kept elsewhere: they must still be in
// them. The error is of the store.
func Verify(ctx context.Context, view View, earlier Checkpoint) (*Report, error) {
	v := &verifier{
		earlier: earlier,
		chains:  map[string]*verified{},
	}
	for first := true; ; first = false {
		n := 0
		err := view(ctx, func(r Reader) error {
			e, err := r.Extent(ctx)
			if err != nil {
				v.found("", 0, 0, "where the chain begins or ends cannot be read: "+err.Error())
				n = 0
				return ctx.Err()
			}

			v.begin(e, first)
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
				v.found(f.Chain, f.Sequence, f.Doc, f.Problem)
			})
		})
		if err != nil || n < perView {
			return v.report(), err
		}
	}
}

// verifier follows the chains.
type verifier struct {
	out     Report
	extent  Extent
	earlier Checkpoint
	chains  map[string]*verified
	at      uint64 // number of the last link
	joined  Hash   // of the last commit
	lost    bool   // a row cannot be read, so that joined is not known
}

// verified is how far a chain was followed.
type verified struct {
	Verified
	last Place // of the last link that could be read
	lost bool  // what came between cannot be read
	met  bool  // the earlier head was in the chain
}

func (v *verifier) found(chain string, sequence, doc uint64, problem string) {
	if len(v.out.Findings) == maxFindings {
		v.out.More++
		return
	}
	v.out.Findings = append(v.out.Findings, Finding{
		Chain:    chain,
		Sequence: sequence,
		Doc:      doc,
		Problem:  problem,
	})
}

// begin goes on in a later state of the chains.
func (v *verifier) begin(e Extent, first bool) {
	v.extent = e
	if first || e.Anchor() > v.at {
		v.joined = e.Joined // what is before it was removed meanwhile
	}

	for _, c := range e.Chains {
		of := v.chains[c.Name]
		if of == nil {
			of = &verified{}
			v.chains[c.Name] = of
		}
		if of.Chain = c; c.Anchor.Sequence > of.last.Sequence {
			of.last = c.Anchor
		}
	}
}

// link checks that a link follows the one before.
func (v *verifier) link(l Link) {
	v.at = max(v.at, l.Doc)
	of := v.chains[l.Chain]
	if l.Err != nil {
		v.found(l.Chain, l.Sequence, l.Doc, "cannot be read: "+l.Err.Error())
		v.lost = true
		if of != nil {
			of.lost = true
		}
		return
	}

	v.join(l)
	if of == nil {
		v.found(l.Chain, l.Sequence, l.Doc, "is of a chain that is not listed")
		return
	}
	of.Records++
	if of.First == 0 {
		of.First = l.Doc
	}
	v.follow(of, l)

	of.lost = false
	of.last = l.Place
	if e := v.earlier[l.Chain]; l.Sequence == e.Sequence {
		of.met = l.Hash == e.Hash
	}
}

// follow checks that a link follows the one before in its chain.
func (v *verifier) follow(of *verified, l Link) {
	switch before := of.last; {
	case of.lost:
	case l.Doc <= before.Doc:
		v.found(l.Chain, l.Sequence, l.Doc, "was inserted: it is among records that have later numbers")
	case l.Sequence <= before.Sequence:
		v.found(l.Chain, l.Sequence, l.Doc, fmt.Sprintf(
			"was inserted or moved: the record before it is already number %d", before.Sequence))
	case l.Sequence > before.Sequence+1:
		v.found(l.Chain, l.Sequence, l.Doc, fmt.Sprintf("follows a gap: %s before it %s gone",
			records(l.Sequence-before.Sequence-1), isAre(l.Sequence-before.Sequence-1)))
	case l.Previous != before.Hash && before.Sequence == 0:
		v.found(l.Chain, l.Sequence, l.Doc, "is not the first: it names a record before it")
	case l.Previous != before.Hash:
		v.found(l.Chain, before.Sequence, before.Doc, fmt.Sprintf(
			"was altered or replaced: it does not have the hash that the next one (AuditEvent/%s) has of it",
			ID(l.Doc)))
	}
}

// join checks that a commit follows the one before, of any destination.
func (v *verifier) join(l Link) {
	if l.Joint == nil {
		return
	}
	if !v.lost && l.Joint.Previous != v.joined {
		v.found(l.Chain, l.Sequence, l.Doc,
			"does not follow the commit of records before it: that one, of any destination, is gone or was altered")
	}
	v.lost = false
	v.joined = l.Joint.Next(l.Chain, l.Place)
}

// end compares the last record of each chain with its head, which is kept apart.
func (v *verifier) end() {
	for _, c := range v.extent.Chains {
		v.endOf(v.chains[c.Name])
	}
	if !v.lost && v.joined != v.extent.Newest {
		v.found("", 0, 0, "the last commits of records, of one destination or several, are gone or were altered")
	}

	for _, name := range v.earlier.names() {
		if e := v.earlier[name]; e.Sequence > 0 {
			v.compare(name, e)
		}
	}
}

func (v *verifier) endOf(of *verified) {
	head, last := of.Head, of.last
	switch {
	case head.Sequence > last.Sequence && of.lost: // already found
	case head.Sequence > last.Sequence:
		n := head.Sequence - last.Sequence
		v.found(of.Name, head.Sequence, head.Doc, fmt.Sprintf(
			"was the last one: %s at the end %s gone", records(n), isAre(n)))
	case head.Sequence < last.Sequence:
		v.found(of.Name, last.Sequence, last.Doc, fmt.Sprintf(
			"was added behind the last one, which is number %d", head.Sequence))
	case head != last:
		v.found(of.Name, last.Sequence, last.Doc,
			"was altered or replaced: it is the last one, and does not have the hash that is kept of it")
	}
}

// compare looks for an earlier head of a chain.
func (v *verifier) compare(name string, e Place) {
	of := v.chains[name]
	switch {
	case of == nil:
		v.found(name, e.Sequence, 0, "was the earlier head; the whole chain is gone")
	case of.met:
	case e.Sequence == of.Anchor.Sequence && e.Hash == of.Anchor.Hash:
	case e.Sequence < of.Anchor.Sequence:
		v.found(name, e.Sequence, 0,
			"was the earlier head; it was removed as too old, so that nothing can be compared")
	case e.Sequence > of.Head.Sequence:
		v.found(name, e.Sequence, 0, fmt.Sprintf(
			"was the earlier head, and the chain ends at record %d: an older file, such as a backup, is in its place",
			of.Head.Sequence))
	default:
		v.found(name, e.Sequence, 0, "was the earlier head, and is not in the chain: the chain was made anew")
	}
}

// report returns what was found.
func (v *verifier) report() *Report {
	for _, c := range v.extent.Chains {
		v.out.Chains = append(v.out.Chains, v.chains[c.Name].Verified)
	}
	return &v.out
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
