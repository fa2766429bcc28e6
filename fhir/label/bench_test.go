package label_test

import (
	"testing"
	"time"

	"fhirdest.example/fhir/label"
)

// BenchmarkReads compares requests whose reader labels bind with the same requests of one
// whom they do not, each after the other: "rate" is how many of the first are answered in
// the time of one of the second. Some patients of the population have resources that are
// labelled R and V.
func BenchmarkReads(b *testing.B) {
	e := newEnv(b, label.Policy{BreakGlass: "V"})
	e.Must(e.Service.Seed(b.Context(), 300))
	ask := func(path string, free bool) time.Duration {
		token, header := uncleared, []string(nil)
		if free {
			token, header = urgent, []string{"Purpose-Of-Use", "BTG"}
		}

		began := time.Now()
		if w := e.Do("GET", path, token, "", header...); w.Code != 200 {
			b.Fatal(w.Code, w.Body)
		}
		return time.Since(began)
	}

	for _, path := range []string{
		"/Patient/p0007", "/Observation?patient=p0007&_count=50", "/Condition?_count=50", "/Condition?_total=none&_count=50",
		"/Observation?code=8867-4&_count=20", "/Observation?patient.gender=female&_count=20", "/Patient/p0007/$everything",
	} {
		b.Run(path, func(b *testing.B) {
			var bound, free time.Duration
			for b.Loop() {
				free += ask(path, true)
				bound += ask(path, false)
			}
			b.ReportMetric(float64(free)/float64(bound), "rate")
		})
	}
}
