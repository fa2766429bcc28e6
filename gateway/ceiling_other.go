//go:build !unix

package gateway

import "math"

// descriptors returns how many files and connections the process may have open.
func descriptors() int { return math.MaxInt32 }
