package bolt

import (
	"bytes"
	"fmt"
	"math/rand/v2"
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
	rnd := rand.New(rand.NewPCG(1, 2))
	var want [][]byte

	for i := range uint64(segmentMost) {
		doc := i + 1
		rec := anyRecord(rnd)
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
	if p.n != segmentMost {
		t.Errorf("%d records, not %d", p.n, segmentMost)
	}
}

// anyRecord returns a record of any kind, which has much in common with others, and
// terms of its own that it shares with its agents or its kind.
func anyRecord(rnd *rand.Rand) trail.Record {
	one := func(values ...string) string {
		return values[rnd.IntN(len(values))]
	}

	rec := trail.Record{
		Base:        "https://fhir.test/fhir",
		Client:      one("", "client-1", "client-2"),
		TokenID:     one("", "token-1", "token-2"),
		Address:     one("", "192.0.2.1"),
		Subject:     one("", "", "person-1"),
		At:          time.UnixMilli(1e12 - rnd.Int64N(100)).UTC(),
		Interaction: one("read", "search-type", "delete", "create", "$job-file", ""),
		Outcome:     one("0", "4"),
		Query:       one("", "GET Patient?name=x"),
		RequestID:   one("", "same", "request-1"),
		Trace:       one("", "same"),
		Shown:       rnd.IntN(2) == 0,
	}
	rec.Subtype = one(rec.Interaction, "create")
	if rec.Subject != "" {
		rec.User = one("", "Patient/p1", "Practitioner/d1")
	}

	for range rnd.IntN(4) {
		rec.Patients = append(rec.Patients, fmt.Sprint("p", rnd.IntN(3)))
	}
	for range rnd.IntN(4) {
		rec.Touched = append(rec.Touched, trail.Version{
			Type:    one("Patient", "Observation"),
			ID:      fmt.Sprint("p", rnd.IntN(3)),
			Version: rnd.Uint64N(3),
		})
	}

	if rnd.IntN(4) == 0 {
		rec.Event = &trail.Event{
			Type:   trail.Coding{Code: one("110114", "110112")},
			Action: "E",
			Entities: []trail.Entity{
				{
					Type:  trail.Coding{Code: "4"},
					Name:  one("issuer", "client"),
					Value: one("", "same", "request-1"),
				},
			},
		}
	}

	return rec
}
