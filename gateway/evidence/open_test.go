package evidence

import (
	"testing"
	"time"

	"fhirdest.example/gateway/wire"
)

// Opening a file that was closed in order does not read its lines, however many.
func TestOpenReadsNoLines(t *testing.T) {
	const lines = 5000
	h := newHop(t, "gateway", Options{})
	for range lines {
		if err := h.log.Record(&wire.Message{
			Time:   start,
			Method: "GET",
			In:     digest("x"),
			Out:    digest("x"),
		}); err != nil {
			t.Fatal(err)
		}
	}

	if err := h.log.Close(); err != nil {
		t.Fatal(err)
	}
	allocations := testing.AllocsPerRun(1, func() {
		l, err := Open(h.path, "gateway", Options{Now: func() time.Time { return start }})
		if err != nil {
			t.Fatal(err)
		}
		if l.Lost() != 0 {
			t.Errorf("%d lines are lost", l.Lost())
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
	if allocations > lines/5 {
		t.Errorf("opening %d lines makes %.0f allocations: one for some of each", lines, allocations)
	}
}
