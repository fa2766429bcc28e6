package evidence

import (
	"encoding/binary"
	"errors"
	"os"
)

// owed is the number of lines that were taken and are not in the file, in a page that
// outlives a program that is killed: who opens the file next, or compares it, tells of
// them. The lock on it says that the program still runs.
type owed struct {
	file *os.File
	page []byte // 8 bytes; nil where a page cannot be shared
}

const owedSuffix = ".owed"

// leftOwed returns what a program that ended without closing its file owes to it; what
// a running one owes is only on its way.
func leftOwed(path string) int64 {
	f, err := os.Open(path + owedSuffix)
	if err != nil {
		return 0
	}
	defer f.Close()
	var b [8]byte
	if !lock(f) {
		return 0
	}
	f.ReadAt(b[:], 0) // a short one reads as 0
	return int64(binary.LittleEndian.Uint64(b[:]))
}

// openOwed opens or creates the page beside an evidence file, and returns what the
// last program still owed; nil where another program has it.
func openOwed(path string) (*owed, int64, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, 0, err
	}
	if !lock(f) { // the page of a program that still runs is none of ours to change or remove
		return nil, 0, f.Close()
	}
	// Written now, so that a full disk is met here and not at a later store.
	var b [8]byte
	f.ReadAt(b[:], 0)
	_, err = f.WriteAt(b[:], 0)
	o := &owed{file: f}
	if err == nil {
		o.page, err = share(f, len(b))
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return o, int64(binary.LittleEndian.Uint64(b[:])), nil
}

// set stores the number of lines.
func (o *owed) set(n int64) {
	if o != nil && o.page != nil {
		binary.LittleEndian.PutUint64(o.page, uint64(n))
	}
}

// close lets the page go, and removes it when nothing is owed.
func (o *owed) close(n int64) error {
	if o == nil {
		return nil
	}
	o.set(n)
	err := unshare(o.page)
	o.page = nil
	if n == 0 {
		err = errors.Join(err, os.Remove(o.file.Name()))
	}
	return errors.Join(err, o.file.Close())
}
