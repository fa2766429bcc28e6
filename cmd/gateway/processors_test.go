package main

import (
	"slices"
	"testing"
	"time"
)

// How many of four processors are used, look by look.
func TestProcessorsFollowTheLoad(t *testing.T) {
	const small, large = 6 * time.Microsecond, 30 * time.Microsecond
	times := func(n int, l load) []load { return slices.Repeat([]load{l}, n) }
	for name, test := range map[string]struct {
		from  int
		looks []load
		want  []int
	}{
		"little to do": {1, times(2, load{0.2, 3.5, 0, small}), []int{1, 1}},
		"used up, and others idle": {
			1,
			[]load{{0.9, 2, 0, small}, {1.5, 2, 0, small}, {1.8, 2, 0, small}, {3.6, 0.4, 0, small}},
			[]int{2, 2, 4, 4},
		},
		"half used up, and none idle": {
			2,
			[]load{{1.98, 0.1, 0, small}, {1.98, 0.4, 0, small}, {1.98, 0.5, 0, small}},
			[]int{2, 2, 4},
		},
		"used up, and other programs have the machine": {
			1,
			times(20, load{0.99, 0, 5, small}),
			slices.Repeat([]int{2}, 20),
		},
		"others have most of it, and goroutines wait": {
			1,
			times(20, load{0.3, 0, 8, small}),
			slices.Repeat([]int{2}, 20),
		},
		"others have most of it, and handshakes wait": {
			1,
			times(3, load{0.3, 0, 8, large}),
			[]int{2, 4, 4},
		},
		"used up by large messages, and none idle": {
			1,
			[]load{{0.84, 0, 0, large}, {0.85, 0, 0, large}, {1.7, 0, 0, large}},
			[]int{1, 2, 4},
		},
		"little for long enough": {
			3,
			times(20, load{0.6, 1, 0, small}),
			append(append(slices.Repeat([]int{3}, 9), slices.Repeat([]int{2}, 10)...), 1),
		},
		"little now and then": {
			2,
			slices.Repeat([]load{{0.1, 3, 0, small}, {0.7, 3, 0, small}}, 20),
			slices.Repeat([]int{2}, 40),
		},
		"others came, and one less does as much": {
			3,
			times(20, load{1.97, 0, 0, small}),
			append(slices.Repeat([]int{3}, 9), slices.Repeat([]int{2}, 11)...),
		},
		"others came, and one less would do less": {
			2,
			times(20, load{0.97, 0, 0, large}),
			slices.Repeat([]int{2}, 20),
		},
		"nothing at all": {1, times(20, load{}), slices.Repeat([]int{1}, 20)},
	} {
		t.Run(name, func(t *testing.T) {
			p := processors{
				now:  test.from,
				most: 4,
			}
			var got []int
			for _, l := range test.looks {
				got = append(got, p.adjust(l))
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}
