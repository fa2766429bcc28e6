package trail_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"fhirdest.example/fhir/trail"
)

// Records that are unpacked and indexed together are the same as each alone, whatever
// they have in common.
func TestIndexerMakesWhatEachRecordMakesAlone(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	one := func(values ...string) string { return values[rnd.IntN(len(values))] }
	x := trail.NewIndexer()

	for i := range uint64(5000) {
		rec := &trail.Record{
			Base:        one("https://fhir.test/fhir", "https://other.test/fhir"),
			Client:      one("", "client-1", "client-2"),
			TokenID:     one("", "t1", "t2"),
			Address:     one("", "192.0.2.1"),
			Subject:     one("", "", "person-1"),
			Grant:       one("", "grant-1"),
			Interaction: one("read", "search-type", "delete", "create", "$job-file", "$validate"),
			Outcome:     one("0", "4"),
			At:          time.UnixMilli(rnd.Int64N(1e12)).UTC(),
			RequestID:   one("", "request-1", "request-2"),
			Trace:       one("", "", "trace-1"),
			Query:       one("", "", "GET Patient?name=x"),
			Shown:       rnd.IntN(2) == 0,
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
		rec.Subtype = one(rec.Interaction, "create", "")

		if rec.Subject != "" {
			rec.User = one("", "Patient/p1", "Practitioner/d1")
		}
		if rnd.IntN(4) == 0 {
			rec.Event = &trail.Event{
				Type:   trail.Coding{Code: "110114"},
				Action: "E",
				Entities: []trail.Entity{
					{
						Type:  trail.Coding{Code: "4"},
						Name:  one("issuer", "Ärztin O'Neil-Smith", "client"),
						Value: one("v1", "v2"),
					},
					{
						Type: trail.Coding{Code: "2"},
						Role: trail.Coding{Code: "13"},
						Name: one("192.0.2.1", "token"),
					},
				},
			}
		}

		packed := rec.Pack()
		alone, err := packed.Unpack()
		if err != nil {
			t.Fatal(err)
		}
		together, err := x.Unpack(packed)
		if err != nil || !reflect.DeepEqual(alone, together) {
			t.Fatalf("%+v: %+v, %v; alone %+v", rec, together, err, alone)
		}

		if id := trail.ID(i); !bytes.Equal(alone.Terms(id), x.Terms(together, id)) {
			t.Fatalf("%+v: other terms than alone", rec)
		}
	}

	if _, err := x.Unpack(trail.Packed{Who: []byte{200}}); err == nil {
		t.Error("what is no record was unpacked")
	}
}
