package gatewayd

import (
	"crypto/sha256"
	"os"
	"slices"
	"time"
)

// files remembers what files held, so that a look at thousands of them costs one system
// call each and reads none.
type files struct {
	now   func() time.Time
	known map[string]file
	reads int // of contents
}

// file is one as it was when it was read.
type file struct {
	info os.FileInfo // nil: it cannot be read
	sum  [sha256.Size]byte
	// fresh: it had been changed so shortly before that another change could bear the
	// same times.
	fresh bool
}

// freshFor is longer than the grain of any file system's times.
const freshFor = 2 * time.Second

// changed reports whether any of the files at paths has another content than at the last
// call, or the paths are others.
func (f *files) changed(paths []string) bool {
	paths = slices.Compact(slices.Sorted(slices.Values(paths)))
	now := make(map[string]file, len(paths))
	other := len(paths) != len(f.known)

	for _, p := range paths {
		before, ok := f.known[p]
		now[p] = f.look(p, before)
		if !ok || now[p].sum != before.sum || (now[p].info == nil) != (before.info == nil) {
			other = true
		}
	}

	f.known = now
	return other
}

// look returns the file at path, which is read only where it may be another than before.
func (f *files) look(path string, before file) file {
	info, err := os.Stat(path)
	if err != nil {
		return file{}
	}
	if before.info != nil && !before.fresh && same(info, before.info) {
		return before
	}

	f.reads++
	content, err := os.ReadFile(path)
	if err != nil {
		return file{}
	}

	last := info.ModTime()
	if c := changedAt(info); c.After(last) {
		last = c
	}

	return file{
		info:  info,
		sum:   sha256.Sum256(content),
		fresh: f.now().Sub(last) < freshFor,
	}
}

// same reports whether nothing shows that the file was written or replaced.
func same(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) &&
		changedAt(a).Equal(changedAt(b))
}
