package bolt

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"fhirdest.example/fhir/trail"
	"fhirdest.example/server/packed"
)

// A segment has the key of each term of each record, in order, whatever terms the
// records share.
func TestSegmentKeys(t *testing.T) {
	p := newTailPart(1)
	x := trail.NewIndexer()
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
		p.add(doc, &rec, x)
		terms.Each(func(term []byte) bool {
			want = append(want, appendIndexKey(nil, term, doc))
			return true
		})
	}

	slices.SortFunc(want, bytes.Compare)
	const place = 7
	g, ok := packed.OpenSegment(place, packed.EncodeSegment(place, p.each))
	if !ok {
		t.Fatal("what was encoded cannot be opened")
	}

	var got [][]byte
	more, ok := g.Scan(nil, []byte{0xff}, func(term []byte, doc uint64) bool {
		got = append(got, appendIndexKey(nil, term, doc))
		return true
	})
	if !more || !ok {
		t.Fatalf("the segment ended early: %t, %t", more, ok)
	}

	if !slices.EqualFunc(got, want, bytes.Equal) {
		t.Errorf("%d keys, which are not the %d of the records in order", len(got), len(want))
	}
	if p.n != 300 {
		t.Errorf("%d records, not 300", p.n)
	}
}
