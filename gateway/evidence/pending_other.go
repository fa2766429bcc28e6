//go:build !unix

package evidence

import "os"

// removesOpen reports whether a file that is open can be removed. On Windows it
// cannot.
const removesOpen = false

// share returns no page here: the loss of a program that is killed is not known.
func share(*os.File, int) ([]byte, error) {
	return nil, nil
}

func unshare([]byte) error { return nil }

func lock(*os.File) bool { return true }
