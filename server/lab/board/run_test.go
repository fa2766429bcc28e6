package board_test

import (
	"strings"
	"testing"

	"fhirdest.example/udap/conform"
)

// A new run that has as many requests as the one before it, before anybody looks, or
// more, is shown alone.
func TestNewRunsAreShownAlone(t *testing.T) {
	for name, requests := range map[string]int{
		"as many": 1,
		"more":    2,
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			e.add(e.exchange(conform.Token, 200, "/"), assessment("c1", "green"))
			if before := e.get(e.page("")); !strings.Contains(before, "step good") {
				t.Fatalf("no card of the first run: %s", before)
			}

			e.clear()
			for range requests {
				e.add(e.exchange(conform.Discover, 404, "/"), assessment("c2", "red"))
			}
			after := e.get(e.page(""))
			if strings.Contains(after, "step good") || !strings.Contains(after, "step bad") {
				t.Errorf("after it was cleared: %s", after)
			}
		})
	}
}
