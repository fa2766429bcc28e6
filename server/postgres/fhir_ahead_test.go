package postgres_test

import (
	"fmt"
	"testing"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/access"
	"fhirdest.example/fhir/fhirtest"
	"fhirdest.example/fhir/search"
	"fhirdest.example/server/postgres"
	"fhirdest.example/server/postgres/postgrestest"
)

// What decisions about a page will read is read at once: afterwards nothing is sent to
// the database for it, though the destination keeps nothing in memory between requests.
// Covers: case 260
func TestWhatIsPreparedNeedsNoFurtherRoundTrip(t *testing.T) {
	const each = 5
	at := postgrestest.New(t)
	cutter, through := postgrestest.NewCutter(t, at)
	direct := openFHIR(t, postgres.Config{URL: at, Name: "direct"})
	s := openFHIR(t, postgres.Config{URL: through, Name: "counted", Cache: 1})

	var clauses []search.Clause
	for _, status := range []string{"final", "amended", "preliminary", "registered"} {
		for i := range each {
			err := direct.Update(t.Context(), func(c fhir.Change) error {
				id := fmt.Sprint(status, i)
				_, err := c.Put(t.Context(), fhirtest.Entry(t, 0, "Observation", id, 1, status))
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}

		c, err := new(search.Parser).Plain("Observation", "status", "http://hl7.org/fhir/observation-status|"+status)
		if err != nil {
			t.Fatal(err)
		}
		clauses = append(clauses, c)
	}

	err := s.View(t.Context(), func(sn fhir.Snapshot) error {
		src, _ := fhir.AccessTo(sn, fhir.Entry{})
		if err := src.Prepare(t.Context(), clauses); err != nil {
			return err
		}

		cutter.Arm(0, -1)
		read := 0
		for _, c := range clauses {
			var docs []uint64
			err := src.Having(t.Context(), c, func(doc uint64) bool {
				docs = append(docs, doc)
				return true
			})
			if err != nil {
				return err
			}
			err = src.Resources(t.Context(), docs, func(access.Resource) bool {
				read++
				return true
			})
			if err != nil {
				return err
			}
		}

		if sent := cutter.Arm(0, -1); sent[0] != 0 || read != len(clauses)*each {
			t.Errorf("%d resources are read; %d bytes are sent for them, want none", read, sent[0])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
