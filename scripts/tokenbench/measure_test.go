package main

import (
	"bytes"
	"math"
	"strings"
	"testing"
)

const output = `goos: linux
BenchmarkToken/p256/32-4         	    1000	       170.5 cpu-µs/req	        56.10 bare-µs	         3.00 cpu/bare	      4000 req/s
BenchmarkToken/p256/32-nosync-4  	    1000	       160.5 cpu-µs/req	        56.10 bare-µs	         2.90 cpu/bare	      5000 req/s
PASS
`

func TestRead(t *testing.T) {
	m := measurements{}
	for range 3 {
		if err := m.read([]byte(output)); err != nil {
			t.Fatal(err)
		}
	}

	if got := m.value("Token/p256/32", "cpu-µs/req"); got != 170.5 {
		t.Errorf("CPU %v", got)
	}
	if got := m.against("Token/p256/32", "Token/p256/32-nosync"); got != 0.8 {
		t.Errorf("ratio %v", got)
	}
	if got := m.value("Token/p256/32", "none"); !math.IsNaN(got) {
		t.Errorf("a unit that was not measured is %v", got)
	}

	if err := m.read([]byte("PASS\n")); err == nil {
		t.Error("a run without benchmarks was accepted")
	}
}

func TestGoals(t *testing.T) {
	for _, c := range []struct {
		name  string
		value float64
		sign  string
		met   bool
	}{
		{"above a least", 2, ">=", true},
		{"below a least", 1, ">=", false},
		{"below a most", 1, "<=", true},
		{"above a most", 2, "<=", false},
		{"not measured, least", math.NaN(), ">=", false},
		{"not measured, most", math.NaN(), "<=", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			if met := goal(&out, c.name, c.value, c.sign, 1.5); met != c.met {
				t.Errorf("met %v, want %v", met, c.met)
			}
			if strings.Contains(out.String(), "below\n") == c.met {
				t.Errorf("printed %q", out.String())
			}
		})
	}
}

func TestMedian(t *testing.T) {
	for want, list := range map[float64][]float64{1: {1}, 2: {3, 1, 2}, 3: {4, 3}} {
		if got := median(list); got != want {
			t.Errorf("median of %v is %v, want %v", list, got, want)
		}
	}
}
