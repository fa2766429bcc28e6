package reach

import (
	"testing"
	"time"
)

// A moment for which this process stood still costs a probe two beats, however long it was,
// and a time that is made of such moments ends all the same.
func TestStandstillDoesNotCount(t *testing.T) {
	b := newBudget(Bound)
	defer b.Stop()
	for used := 2 * beat; used < Bound; used += 2 * beat {
		b.last = time.Now().Add(-time.Minute)
		if b.spend() || b.left != Bound-used {
			t.Fatalf("%v of %v are left after %v", b.left, Bound, used)
		}
	}

	b.last = time.Now().Add(-time.Minute)
	if !b.spend() {
		t.Errorf("%v are left at the end", b.left)
	}
}
