package udaptest

import (
	"testing"
	"time"
)

// Quick asserts that f needs less than a time, on a machine that may be busy with
// something else: it tries again until it does, and gives up after two minutes. What
// takes its time by its nature never gets through.
func Quick(t testing.TB, name string, most time.Duration, f func()) {
	t.Helper()
	end, best := time.Now().Add(2*time.Minute), time.Duration(0)
	for {
		began := time.Now()
		f()
		took := time.Since(began)
		if took < most {
			return
		}

		if best == 0 || took < best {
			best = took
		}
		if time.Now().After(end) {
			t.Errorf("%s took %v at best, more than %v", name, best, most)
			return
		}
	}
}
