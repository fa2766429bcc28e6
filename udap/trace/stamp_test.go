package trace_test

import (
	"sync"
	"testing"
	"time"

	"fhirdest.example/udap/trace"
)

// The text of a time is its own, however many others are asked for at the same time: of
// other seconds, zones and beginnings, before 1970 too.
func TestTextsOfTimes(t *testing.T) {
	start := time.Date(1969, 12, 31, 23, 58, 0, 0, time.FixedZone("", 3600))
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 400 {
				at := start.Add(time.Duration(i*(g+1)) * 700 * time.Millisecond)
				want := at.UTC().Format(time.RFC3339)
				for _, before := range []string{"", "after ", "iat not after "} {
					if got := trace.Stamped(before, at); got != before+want {
						t.Errorf("%q, want %q", got, before+want)
					}
				}
				if got := trace.Stamp(at); got != want {
					t.Errorf("%q, want %q", got, want)
				}
			}
		})
	}
	wg.Wait()
}
