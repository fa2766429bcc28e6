package postgres_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/fhirtest"
	"fhirdest.example/fhir/trail"
)

// BenchmarkAudit is what the record of a change costs, beside the change without it:
// of 32 callers at once. A thousand records more are indexed every thousand changes.
func BenchmarkAudit(b *testing.B) {
	body := []byte(`{"resourceType":"Observation","status":"final","note":"` + strings.Repeat("x", 1000) + `"}`)
	for _, records := range []int{0, 1} {
		b.Run(fmt.Sprintf("create/records=%d", records), func(b *testing.B) {
			s := openShared(b)
			var n atomic.Int64
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					i := int(n.Add(1))
					e := fhirtest.Entry(b, 0, "Observation", fmt.Sprint("o", i), 1, "final")
					e.Body = body
					err := s.east.Update(b.Context(), func(c fhir.Change) error {
						if _, err := c.Put(b.Context(), e); err != nil || records == 0 {
							return err
						}
						return c.Append(b.Context(), []trail.Record{auditRecord(i)})
					})
					if err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}

	b.Run("200 reads", func(b *testing.B) {
		s := openShared(b)
		for i := range b.N {
			all := make([]trail.Record, 200)
			for k := range all {
				all[k] = auditRecord(200*i + k)
			}
			err := s.east.Update(b.Context(), func(c fhir.Change) error {
				return c.Append(b.Context(), all)
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}
