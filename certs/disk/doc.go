// Package disk has what differs between systems about files: locks, permissions,
// owners, what makes a new name durable, and files in memory.
//
// Where a system lacks something, the function's comment describes what it does
// there instead. Nothing here looks at a file's content.
package disk

import (
	"io/fs"
	"os"
)

// groupRead is all that the mode of a secret that is mounted for a group may
// give to others than its owner.
const groupRead fs.FileMode = 0o040

// GroupOnly reports whether a file can at most be read by its group, and be
// neither written by it nor used by others: the mode of a secret that is mounted
// for a group. It is false for a file that cannot be examined.
func GroupOnly(path string) bool {
	st, err := os.Stat(path)
	return err == nil && shared(st)&^groupRead == 0
}

// Shared returns the permissions that a file, or the file that a symlink leads
// to, gives to accounts other than its owner. It is zero for a file that cannot
// be examined, and on Windows, whose access lists are not read.
func Shared(path string) fs.FileMode {
	st, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return shared(st)
}
