package consent_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/async/asyncenv"
	"fhirdest.example/fhir/label"
	"fhirdest.example/fhir/sample"
)

// The size of the comparison: so many patients have some 100,000 resources.
const (
	benchPatients = 1500
	benchConsents = 1000
	benchRounds   = 41
)

// BenchmarkReads compares the rate of reads and searches for treatment with that of the
// same store without any Consent in force and without a policy on labels, by turns in
// one run: the median of the rounds' ratios is what counts. scripts/bench-consents runs
// it.
func BenchmarkReads(b *testing.B) {
	with := asyncenv.New(b, func(e *asyncenv.Env) {
		e.Change = func(c *fhir.Config) { c.Labels = benchLabels }
	})
	with.Must(with.Service.Seed(b.Context(), benchPatients))
	with.Close()
	without := asyncenv.New(b, func(e *asyncenv.Env) {
		data, err := os.ReadFile(filepath.Join(with.Dir, "fhir.bolt"))
		e.Must(err)
		e.Must(os.WriteFile(filepath.Join(e.Dir, "fhir.bolt"), data, 0o600))
	})
	with.Open()
	with.Run()
	b.Cleanup(with.Close)

	settle(b, without, func(string) string { return "inactive" })
	settle(b, with, func(string) string { return "active" })

	for name, path := range map[string]string{
		"read":                  "/Observation/ID-heart-1",
		"search of a patient":   "/Observation?patient=ID&_count=20",
		"search of a category":  "/Observation?patient=ID&category=laboratory&_count=20",
		"search of all, a page": "/Observation?_count=20&_total=none",
		"search of all, a code": "/Observation?code=718-7&_count=20",
	} {
		b.Run(name, func(b *testing.B) {
			const n = 50
			var ratios, times []float64
			for range benchRounds {
				bare := ask(b, without, path, n)
				ours := ask(b, with, path, n)
				ratios = append(ratios, float64(bare)/float64(ours))
				times = append(times, float64(ours)/n/1e3)
			}
			b.ReportMetric(median(ratios), "of-the-rate")
			b.ReportMetric(median(times), "us/request")
		})
	}
}

// benchLabels imply labels of what some results are about, and clear everybody for them.
var benchLabels = label.Policy{
	Clearances: []label.Clearance{{
		Level:         "R",
		Sensitivities: []string{"*"},
	}},
	Rules: []label.Rule{{
		Codes:  []string{"http://loinc.org|718-7", "http://loinc.org|7917-8"},
		Labels: []string{"R", "HIV"},
	}},
}

// settle stores a Consent that denies marketing for each of the first patients, and
// makes those of the sample inactive.
func settle(b *testing.B, e *asyncenv.Env, status func(id string) string) {
	for i := range benchPatients {
		p := sample.PatientID(i)
		further, state := noMarketing, "inactive"
		if i < benchConsents {
			state = status(p)
		}
		id := p + "-consent-1"
		w := e.Do("PUT", "/Consent/"+id, treatment, consentOf(id, state, p, further))
		if w.Code >= 300 {
			b.Fatalf("%d %s", w.Code, w.Body)
		}
	}
}

func ask(b *testing.B, e *asyncenv.Env, path string, n int) time.Duration {
	began := time.Now()
	for i := range n {
		p := sample.PatientID(i * 7 % benchConsents)
		if w := e.Do("GET", strings.ReplaceAll(path, "ID", p), treatment, ""); w.Code != 200 {
			b.Fatal(fmt.Sprint(w.Code, w.Body))
		}
	}
	return time.Since(began)
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}
