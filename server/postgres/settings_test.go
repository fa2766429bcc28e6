package postgres_test

import (
	"fmt"
	"sync"
	"testing"

	"fhirdest.example/server/postgres"
	"fhirdest.example/server/postgres/postgrestest"
)

// A value that all destinations have is changed by one of those who try at once, and
// the others have that one's.
func TestValuesOfAllDestinations(t *testing.T) {
	url := postgrestest.New(t)
	var stores [2]*postgres.Trust
	for i := range stores {
		s, err := postgres.OpenTrust(t.Context(), postgres.Config{URL: url})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		stores[i] = s
	}

	if v, err := stores[0].Shared().Value(t.Context(), "name"); err != nil || v != nil {
		t.Fatalf("before it is stored: %v %q", err, v)
	}

	var was []byte
	for round := range 3 {
		got := map[string]bool{}
		var mu sync.Mutex
		var work sync.WaitGroup
		for i := range 6 {
			work.Go(func() {
				v, err := stores[i%2].Shared().Swap(t.Context(), "name", was, fmt.Appendf(nil, "%d by %d", round, i))
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				got[string(v)] = true
				mu.Unlock()
			})
		}
		work.Wait()

		now, err := stores[1].Shared().Value(t.Context(), "name")
		if err != nil || len(got) != 1 || !got[string(now)] {
			t.Errorf("round %d: %v, %q, and the answers were %v", round, err, now, got)
		}
		was = now
	}
}
