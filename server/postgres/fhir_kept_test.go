package postgres_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/fhirtest"
	"fhirdest.example/server/postgres"
	"fhirdest.example/server/postgres/postgrestest"
)

// keptRange is a range of the index, and how many of its rows are wanted.
type keptRange struct {
	from, to []byte
	most     int
}

// randomRange returns a range around a term that some resource has.
func randomRange(rnd *rand.Rand, docs int, terms [][]byte) keptRange {
	term := terms[rnd.IntN(len(terms))]
	r := keptRange{most: []int{1, 70, 600, 1100, 10_000}[rnd.IntN(5)]}
	switch rnd.IntN(4) {
	case 0: // of one term
		r.from = append(bytes.Clone(term), 0)
		r.to = append(bytes.Clone(term), 1)
	case 1: // of one term, from a resource on
		r.from = append(bytes.Clone(term), 0)
		r.from = binary.BigEndian.AppendUint64(r.from, uint64(rnd.IntN(docs)))
		r.to = append(bytes.Clone(term), 1)
	case 2: // of a parameter
		r.from = term[:2]
		r.to = binary.BigEndian.AppendUint16(nil, binary.BigEndian.Uint16(term)+1)
	default: // from a term on
		r.from = term
		r.to = binary.BigEndian.AppendUint16(nil, binary.BigEndian.Uint16(term)+1)
	}
	return r
}

// rowsIn returns the rows of a range.
func rowsIn(t *testing.T, s fhir.Store, r keptRange) (rows []string) {
	t.Helper()
	err := s.View(t.Context(), func(sn fhir.Snapshot) error {
		rows = nil
		return sn.Scan(t.Context(), r.from, r.to, func(term []byte, doc uint64) bool {
			rows = append(rows, fmt.Sprintf("%x %d", term, doc))
			return len(rows) < r.most
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// What is kept of long lists is what the database has, in its order, while another
// destination adds to them, changes and removes what is in them.
// Covers: case 260
func TestFirstRowsOfLongListsAreKept(t *testing.T) {
	at := postgrestest.New(t)
	keeps := openFHIR(t, postgres.Config{URL: at, Name: "one"})
	reads := openFHIR(t, postgres.Config{URL: at, Name: "two", Cache: 1})
	rnd := rand.New(rand.NewPCG(1, 2))
	statuses := []string{"final", "amended", "preliminary"}

	var terms [][]byte
	put := func(c fhir.Change, doc uint64, i int, version uint64) error {
		e := fhirtest.Entry(t, doc, "Observation", fmt.Sprint(i), version, statuses[rnd.IntN(3)])
		e.Terms.Each(func(term []byte) bool {
			terms = append(terms, term)
			return true
		})
		_, err := c.Put(t.Context(), e)
		return err
	}

	docs := 0
	versions := map[int]uint64{}
	grow := func(n int) {
		t.Helper()
		err := reads.Update(t.Context(), func(c fhir.Change) error {
			for i := range n {
				if err := put(c, 0, docs+i, 1); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			versions[docs+i] = 1
		}
		docs += n
	}

	grow(2500)
	for round := range 60 {
		for range 8 {
			r := randomRange(rnd, docs, terms)
			want, got := rowsIn(t, reads, r), rowsIn(t, keeps, r)
			if !slices.Equal(got, want) {
				t.Fatalf("round %d, %x to %x: %d rows, want %d", round, r.from, r.to, len(got), len(want))
			}
		}

		if round%4 == 0 {
			grow(1 + rnd.IntN(3))
			continue
		}
		changeOne(t, reads, rnd.IntN(docs), versions, put)
	}
}

// changeOne makes another version of a resource.
func changeOne(
	t *testing.T, s fhir.Store, i int, versions map[int]uint64,
	put func(c fhir.Change, doc uint64, i int, version uint64) error,
) {
	t.Helper()
	versions[i]++
	err := s.Update(t.Context(), func(c fhir.Change) error {
		doc, _, err := c.Lookup(t.Context(), "Observation", fmt.Sprint(i))
		if err != nil {
			return err
		}
		return put(c, doc, i, versions[i])
	})
	if err != nil {
		t.Fatal(err)
	}
}
