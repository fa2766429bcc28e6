package consent_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/async/asyncenv"
	"fhirdest.example/fhir/label"
	"fhirdest.example/fhir/sample"
	"fhirdest.example/scripts/measure"
)

// The size of the comparison: so many patients have some 100,000 resources.
const (
	benchPatients = 1500
	benchConsents = 1000
)

// options are those of scripts/bench-consents, behind -args.
var options = flags()

func flags() *measure.Options {
	o := &measure.Options{}
	o.Flags(flag.CommandLine, 41)
	return o
}

// BenchmarkReads compares the rate of reads and searches for treatment with that of the
// same store without any Consent in force and without a policy on labels, by turns in
// one run. scripts/bench-consents runs it.
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

	r := measure.NewRun()
	for name, path := range map[string]string{
		"read":                  "/Observation/ID-heart-1",
		"search of a patient":   "/Observation?patient=ID&_count=20",
		"search of a category":  "/Observation?patient=ID&category=laboratory&_count=20",
		"search of all, a page": "/Observation?_count=20&_total=none",
		"search of all, a code": "/Observation?code=718-7&_count=20",
	} {
		b.Run(name, func(b *testing.B) {
			side := func(name string, e *asyncenv.Env) measure.Side {
				return measure.Side{
					Name: name,
					Do:   func() (measure.Values, error) { return ask(b, e, path, 50), nil },
				}
			}
			err := r.Turns(name, options.Rounds, side("without", without), side("with", with))
			if err != nil {
				b.Fatal(err)
			}
		})
	}

	if err := options.Finish(os.Stdout, r); err != nil {
		b.Fatal(err)
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

func ask(b *testing.B, e *asyncenv.Env, path string, n int) measure.Values {
	began, before := time.Now(), measure.CPU()
	for i := range n {
		p := sample.PatientID(i * 7 % benchConsents)
		if w := e.Do("GET", strings.ReplaceAll(path, "ID", p), treatment, ""); w.Code != 200 {
			b.Fatal(fmt.Sprint(w.Code, w.Body))
		}
	}
	return measure.Values{
		measure.PerSecond: float64(n) / time.Since(began).Seconds(),
		measure.CPUMicros: float64((measure.CPU() - before).Microseconds()) / float64(n),
	}
}
