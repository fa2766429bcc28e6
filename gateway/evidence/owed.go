package evidence

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"os"
)

// owed counts the lines that were taken, or announced, and are not in the file, in a page that
// outlives a program that is killed: who opens the file next, or compares it, tells of
// them. The lock on it says that the program still runs.
//
// A program can be killed between any two stores. So the page says up to which size of
// the file it was settled, and lines that stand after that are not owed; and a
// settlement is written beside the one that counts, then made to count by one byte.
type owed struct {
	file *os.File
	page []byte // nil where a page cannot be shared
}

// The words of a page, 8 bytes each.
const (
	wordTaken   = 0 // lines taken or announced, by every program that had the page
	wordWhich   = 1 // the settlement that counts, 0 or 1
	wordSettled = 2 // two settlements: lines in the file or told of as lost, and its size

	pageBytes = 6 * 8
)

const owedSuffix = ".owed"

// leftOwed returns what a program that ended without closing its file owes to it; what
// a running one owes is only on its way.
func leftOwed(path string) int64 {
	f, err := os.Open(path + owedSuffix)
	if err != nil {
		return 0
	}
	defer f.Close()

	if !lock(f) {
		return 0
	}

	o := owed{page: make([]byte, pageBytes)}
	f.ReadAt(o.page, 0) // what a short one lacks reads as 0
	lines, _ := o.left(path)
	return lines
}

// openOwed opens or creates the page of an evidence file, and returns what the last
// program still owed; nil where another program has it.
func openOwed(path string) (*owed, int64, error) {
	f, err := os.OpenFile(path+owedSuffix, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, 0, err
	}
	if !lock(f) { // the page of a program that still runs is none of ours to change or remove
		return nil, 0, f.Close()
	}

	// Written now, so that a full disk is met here and not at a later store.
	b := make([]byte, pageBytes)
	f.ReadAt(b, 0)
	_, err = f.WriteAt(b, 0)
	o := &owed{file: f}
	if err == nil {
		o.page, err = share(f, pageBytes)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	if o.page == nil {
		return o, 0, nil
	}

	lines, size := o.left(path)
	o.settle(o.unsettled()-lines, size)
	return o, lines, nil
}

func (o *owed) word(i int) int64   { return int64(binary.LittleEndian.Uint64(o.page[8*i:])) }
func (o *owed) set(i int, n int64) { binary.LittleEndian.PutUint64(o.page[8*i:], uint64(n)) }

// settled returns the first word of the settlement that counts.
func (o *owed) settled() int { return wordSettled + 2*int(o.word(wordWhich)&1) }

func (o *owed) unsettled() int64 { return o.word(wordTaken) - o.word(o.settled()) }

// left returns the lines that are owed, and the size of the file by which that holds.
func (o *owed) left(path string) (lines, size int64) {
	if o.unsettled() <= 0 { // as after every clean end: a file of any size is not read
		if info, err := os.Stat(path); err == nil {
			size = info.Size()
		}
		return 0, size
	}
	told, size := toldAfter(path, o.word(o.settled()+1))
	return max(o.unsettled()-told, 0), size
}

// toldAfter counts the lines of a file that stand after an offset, with those that they
// tell of as lost.
func toldAfter(path string, offset int64) (lines, size int64) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0
	}
	defer f.Close()

	info, err := f.Stat()
	if err != nil || offset < 0 || offset > info.Size() {
		return 0, 0
	}

	r := reader{lines: bufio.NewReaderSize(io.NewSectionReader(f, offset, info.Size()-offset), maxLine)}
	for {
		b, err := r.lines.ReadSlice('\n')
		if r.parse(b) != nil {
			lines++
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return lines + r.lost, info.Size()
		}
	}
}

// take counts n more lines that are to be written.
func (o *owed) take(n int) {
	if o != nil && o.page != nil {
		o.set(wordTaken, o.word(wordTaken)+int64(n))
	}
}

// settle counts lines that are in the file, or told of there as lost, now that it has
// this size.
func (o *owed) settle(lines, size int64) {
	if o == nil || o.page == nil {
		return
	}
	now := o.settled()
	next := 2*wordSettled + 2 - now
	o.set(next, o.word(now)+lines)
	o.set(next+1, size)
	o.set(wordWhich, int64(next-wordSettled)/2)
}

// close lets the page go, and removes it when nothing is owed.
func (o *owed) close() error {
	if o == nil {
		return nil
	}
	var gone error
	if o.page == nil || o.unsettled() == 0 {
		gone = os.Remove(o.file.Name())
	}
	err := unshare(o.page)
	o.page = nil
	return errors.Join(gone, err, o.file.Close())
}
