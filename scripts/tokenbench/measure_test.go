package main

import (
	"bytes"
	"strings"
	"testing"

	"fhirdest.example/scripts/measure"
)

const output = `goos: linux
BenchmarkToken/p256/32-4         	    1000	       170.5 cpu-µs/req	        56.10 bare-µs	         3.00 cpu/bare	      4000 req/s
BenchmarkToken/p256/32-nosync-4  	    1000	       160.5 cpu-µs/req	        56.10 bare-µs	         2.90 cpu/bare	      5000 req/s
BenchmarkToken/p256/32-http-4    	    1000	        42.0 cpu-µs/req	        56.10 bare-µs	         0.70 cpu/bare	      9000 req/s
BenchmarkParts/p256/signature-4  	    1000	     50000 cpu-ns/op
BenchmarkTrustIssue/32-4         	    1000	     18000 cpu-ns/op
PASS
`

func TestRead(t *testing.T) {
	r := measure.NewRun()
	for range 3 {
		b := benchmarks{}
		if err := b.read([]byte(output)); err != nil {
			t.Fatal(err)
		}
		b.add(r)
	}

	work := tokenCases[0].name
	for side, want := range map[string]float64{
		ours:      170.5,
		floors:    110,
		signature: 50,
	} {
		if got, ok := r.Value(work, measure.CPUMicros, side); !ok || got != want {
			t.Errorf("%s: CPU %v, want %v", side, got, want)
		}
	}

	if s, _ := r.Ratio(work, measure.PerSecond, ours, noSync); s.Median != 0.8 {
		t.Errorf("ratio %v", s)
	}
	if s, _ := r.Ratio(work, measure.CPUMicros, ours, floors); s.Median != 1.55 {
		t.Errorf("ratio %v", s)
	}
	if _, ok := r.Value(work, measure.PerSecond, plain); ok {
		t.Error("what was not measured has a value")
	}

	if err := (benchmarks{}).read([]byte("PASS\n")); err == nil {
		t.Error("a run without benchmarks was accepted")
	}
}

// TestGoals has the goals find what they are about under the names that add gives.
func TestGoals(t *testing.T) {
	b := benchmarks{}
	if err := b.read([]byte(output)); err != nil {
		t.Fatal(err)
	}
	r := measure.NewRun()
	b.add(r)
	r.Goals(goals(false)...)

	var out bytes.Buffer
	r.Print(&out)
	for _, want := range []string{
		"CPU µs: ours beside floors", "1.55  at most 1.50     MISSED",
		"/s: ours beside no sync", "0.80  at least 0.80    met",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}
