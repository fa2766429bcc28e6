package lab

import (
	"strconv"
	"testing"

	"fhirdest.example/udap/trace"
)

// TestTracesWaitForTheirExchanges: a decision is there for its exchange however many
// exchanges wait to be stored, and what belongs to none is bounded.
func TestTracesWaitForTheirExchanges(t *testing.T) {
	var p pendingTraces
	for i := range maxWaiting {
		p.add(&trace.Trace{ID: strconv.Itoa(i)})
	}
	for i := range maxWaiting {
		if got := p.take([]string{strconv.Itoa(i)}); len(got) != 1 {
			t.Fatalf("the decision %d of an exchange that waits is not there", i)
		}
	}
	if len(p.order) != 0 || len(p.byID) != 0 {
		t.Errorf("%d ids and %d decisions are kept after they were taken", len(p.order), len(p.byID))
	}

	for i := range 3 * maxTraces {
		p.add(&trace.Trace{ID: strconv.Itoa(i)})
	}
	if len(p.order) != maxTraces || len(p.byID) != maxTraces {
		t.Errorf("%d ids and %d decisions are kept, want %d", len(p.order), len(p.byID), maxTraces)
	}
}
