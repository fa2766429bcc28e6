package bolt

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"fhirdest.example/fhir/trail"
)

// A segment has the key of each term of each record, in order, whatever terms the
// records share.
func TestSegmentKeys(t *testing.T) {
	p := tailPart{numbers: map[string]int{}}
	var want [][]byte

	for i := range uint64(300) {
		doc := i + 1
		rec := trail.Record{
			Base:        "https://fhir.test/fhir",
			Client:      fmt.Sprint("client-", i%7),
			TokenID:     fmt.Sprint("token-", i%50),
			At:          time.UnixMilli(int64(1e12 - i/3)).UTC(),
			Interaction: "read",
			Subtype:     "read",
			Outcome:     "0",
			Patients:    []string{fmt.Sprint("p", i%11)},
			RequestID:   fmt.Sprint("request-", i),
		}

		terms := rec.Terms(trail.ID(doc))
		p.add(doc, terms)
		terms.Each(func(term []byte) bool {
			want = append(want, appendIndexKey(nil, term, doc))
			return true
		})
	}

	slices.SortFunc(want, bytes.Compare)
	got := p.keys()
	if !slices.EqualFunc(got, want, bytes.Equal) {
		t.Errorf("%d keys, which are not the %d of the records in order", len(got), len(want))
	}
	if p.n != 300 {
		t.Errorf("%d records, not 300", p.n)
	}
}
