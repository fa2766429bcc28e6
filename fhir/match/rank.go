package match

import (
	"cmp"
	"slices"
)

// MaxCandidates bounds the records that one request compares.
const MaxCandidates = 1000

// Candidate is a patient who was compared.
type Candidate struct {
	Doc uint64 // its number in the store
	ID  string
	Verdict
}

// Ranked is what is disclosed, the most likely first.
type Ranked struct {
	Found []Candidate
	// Ambiguous reports that more than one match is certain, and so none is
	// disclosed.
	Ambiguous bool
	// More reports that more match than the count allows.
	More bool
}

// Rank orders candidates and leaves out those that are certainly not the person, or
// not certainly, if that was asked for.
func (r *Request) Rank(all []Candidate) Ranked {
	kept := slices.DeleteFunc(all, func(c Candidate) bool {
		return c.Grade == CertainlyNot || r.OnlyCertain && c.Grade != Certain
	})
	if r.OnlyCertain && len(kept) > 1 {
		return Ranked{Ambiguous: true}
	}

	slices.SortFunc(kept, func(a, b Candidate) int {
		return cmp.Or(
			cmp.Compare(b.Score, a.Score),
			cmp.Compare(a.edits, b.edits),
			cmp.Compare(a.ID, b.ID),
		)
	})

	n := min(len(kept), r.Count)
	return Ranked{
		Found: kept[:n],
		More:  len(kept) > n,
	}
}
