package consent

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// What is kept by patient is what a map would keep.
func TestFewIsAMap(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var kept few[int]
		want := map[string]int{}

		for range 20 {
			patient := fmt.Sprint("p", rnd.IntN(4))
			got, known := kept.get(patient)
			v, there := want[patient]
			if got != v || known != there || kept.of([]byte(patient)) != v {
				t.Fatalf("seed %d: %s has %d, %t, and not %d, %t", seed, patient, got, known, v, there)
			}
			if kept.any != (len(want) > 0) {
				t.Fatalf("seed %d: any is %t of %d", seed, kept.any, len(want))
			}

			if rnd.IntN(2) == 0 {
				value := rnd.IntN(3)
				kept.set(patient, value)
				want[patient] = value
			}
		}
	}
}
