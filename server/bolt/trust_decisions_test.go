package bolt

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"fhirdest.example/server/audit"
	"fhirdest.example/udap/trace"
)

// Covers: case 269
func TestDecisionsSurviveARestartAndStayBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trust.bolt")
	trust, err := OpenTrust(path, Options{MmapSize: 1 << 26})
	if err != nil {
		t.Fatal(err)
	}
	var first, last string

	for round := range 6 {
		batch := make([]audit.Decision, 1000)
		for i := range batch {
			tr := trace.NewTrace(fmt.Sprint(round, ".", i), time.Unix(1e9, 0))
			tr.Pass(trace.Check{Name: "jws.signature", Title: "signed", Requirements: []string{"S1-073"}}, "a", "b")
			batch[i] = audit.Decision{Authenticated: true, Trace: *tr}
			if first == "" {
				first = tr.ID
			}
			last = tr.ID
		}

		if err := trust.SaveDecisions(batch); err != nil {
			t.Fatal(err)
		}
	}

	if err := trust.Close(); err != nil {
		t.Fatal(err)
	}
	if trust, err = OpenTrust(path, Options{MmapSize: 1 << 26}); err != nil {
		t.Fatal(err)
	}
	defer trust.Close()

	all, err := trust.Decisions(30_000)
	if err != nil || len(all) != maxDecisions || all[0].Trace.ID != last {
		t.Fatalf("%d decisions, newest %v, %v", len(all), all[0].Trace.ID, err)
	}
	if _, ok, _ := trust.Decision(first); ok {
		t.Error("the oldest is still there")
	}
	d, ok, err := trust.Decision(last)
	if err != nil || !ok || !d.Authenticated || len(d.Trace.Steps) != 1 || d.Trace.Steps[0].Found != "b" {
		t.Errorf("read back %+v, %v, %v", d, ok, err)
	}

	if few, _ := trust.Decisions(3); len(few) != 3 || few[2].Trace.Action != "5.997" {
		t.Errorf("the newest three: %+v", few)
	}
	if none, err := trust.Decisions(0); len(none) != 0 || err != nil {
		t.Errorf("none: %v, %v", none, err)
	}
}
