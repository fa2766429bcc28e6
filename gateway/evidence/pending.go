package evidence

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"runtime/debug"
)

// pending counts the lines that were accepted, or announced, and are not in the file, in a
// page that outlives a program that is killed: the next program that opens the file, or
// compares it, reports them as lost. The lock on the page shows that its program still
// runs.
//
// A program can be killed between any two stores. So the page has the size of the file by
// which it was settled, and lines after that are not pending; and a settlement is written
// beside the one that counts, then made to count by one byte.
//
// The page is a file that anybody may cut short or remove, log rotation for one. A store
// into a page that is gone faults, which must not end the program; so the words are kept
// here, too, and the page is made again from them.
type pending struct {
	path  string
	file  *os.File
	page  []byte // nil where a page cannot be shared
	words [pageWords]int64
}

// The words of a page, 8 bytes each.
const (
	wordTaken   = 0 // lines accepted or announced, by every program that had the page
	wordWhich   = 1 // the settlement that counts, 0 or 1
	wordSettled = 2 // two settlements: lines in the file or reported as lost, and its size

	pageWords = 6
	pageBytes = pageWords * 8
)

// mostPending bounds what a page may claim: one that claims more is damaged.
const mostPending = 1 << 40

const pendingSuffix = ".owed"

// leftPending returns how many lines a program that ended without closing its file had
// not written; those of a running one are only on their way.
func leftPending(path string) int64 {
	f, err := os.Open(path + pendingSuffix)
	if err != nil {
		return 0
	}
	defer f.Close()

	if !lock(f) {
		return 0
	}

	p := pending{file: f}
	p.load()
	lines, _ := p.left(path)
	return lines
}

// openPending opens or creates the page of an evidence file, and returns how many lines
// the last program had not written; nil where another program has the page.
func openPending(path string) (*pending, int64, error) {
	p := &pending{path: path + pendingSuffix}
	if err := p.open(true); err != nil || p.file == nil {
		return nil, 0, err
	}
	if p.page == nil {
		return p, 0, nil
	}

	lines, size := p.left(path)
	p.settle(p.unsettled()-lines, size)
	return p, lines, nil
}

// open opens, locks and shares the page, with the words that are in it or else with ours.
// No file: another program that still runs has it.
func (p *pending) open(load bool) error {
	f, err := os.OpenFile(p.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if !lock(f) {
		return f.Close()
	}

	p.file = f
	if load {
		p.load()
	}

	// Written now, so that a full disk is met here and not at a later store.
	if err = p.write(); err == nil {
		p.page, err = share(f, pageBytes)
	}
	if err != nil {
		f.Close()
		p.file = nil
	}

	return err
}

// load reads the words: what a page lacks is 0, and so is what cannot be.
func (p *pending) load() {
	b := make([]byte, pageBytes)
	p.file.ReadAt(b, 0)
	for i := range p.words {
		p.words[i] = int64(binary.LittleEndian.Uint64(b[8*i:]))
	}
	if n := p.unsettled(); p.words[wordTaken] < 0 || n < 0 || n > mostPending {
		p.words = [pageWords]int64{}
	}
}

// write writes all words to the file.
func (p *pending) write() error {
	b := make([]byte, 0, pageBytes)
	for _, w := range p.words {
		b = binary.LittleEndian.AppendUint64(b, uint64(w))
	}
	_, err := p.file.WriteAt(b, 0)
	return err
}

// set stores a word. Where the page is gone, all words are written to the file, which
// makes it again; if that fails, a later check tries again.
func (p *pending) set(i int, n int64) {
	p.words[i] = n
	if !guarded(func() {
		binary.LittleEndian.PutUint64(p.page[8*i:], uint64(n))
	}) {
		p.write()
	}
}

// guarded calls f and reports whether it came to its end: a fault of the memory that it
// touches, as of a shared page whose file was cut short, is none of the program.
func guarded(f func()) (ok bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		r := recover()
		if _, fault := r.(interface{ Addr() uintptr }); r != nil && !fault {
			panic(r)
		}
		ok = r == nil
	}()

	f()
	return
}

// check makes the page again when it was cut short, removed or replaced.
func (p *pending) check() {
	if p == nil || p.page == nil {
		return
	}

	own, err := p.file.Stat()
	if err != nil {
		return
	}

	switch there, err := os.Stat(p.path); {
	case errors.Is(err, os.ErrNotExist) || err == nil && !os.SameFile(own, there):
		p.replace()
	case own.Size() < pageBytes:
		p.write()
	}
}

// replace takes a new page in place of one that is gone; that one stays until there is one.
func (p *pending) replace() {
	next := &pending{
		path:  p.path,
		words: p.words,
	}
	if next.open(false) != nil || next.file == nil {
		return
	}
	unshare(p.page)
	p.file.Close()
	*p = *next
}

// settled returns the first word of the settlement that counts.
func (p *pending) settled() int {
	return wordSettled + 2*int(p.words[wordWhich]&1)
}

func (p *pending) unsettled() int64 {
	return p.words[wordTaken] - p.words[p.settled()]
}

// left returns how many lines are pending, and the size of the file by which that holds.
func (p *pending) left(path string) (lines, size int64) {
	if p.unsettled() <= 0 { // as after every clean end: a file of any size is not read
		if info, err := os.Stat(path); err == nil {
			size = info.Size()
		}
		return 0, size
	}
	reported, size := reportedAfter(path, p.words[p.settled()+1])
	return max(p.unsettled()-reported, 0), size
}

// reportedAfter counts the lines of a file after an offset, with those that they report as
// lost.
func reportedAfter(path string, offset int64) (lines, size int64) {
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
			return addUp(lines, r.lost), info.Size()
		}
	}
}

// add counts n more lines that are to be written.
func (p *pending) add(n int) {
	if p != nil && p.page != nil {
		p.set(wordTaken, p.words[wordTaken]+int64(n))
	}
}

// settle counts lines that are in the file, or reported there as lost, now that it has
// this size.
func (p *pending) settle(lines, size int64) {
	if p == nil || p.page == nil {
		return
	}
	now := p.settled()
	next := 2*wordSettled + 2 - now
	p.set(next, p.words[now]+lines)
	p.set(next+1, size)
	p.set(wordWhich, int64(next-wordSettled)/2)
}

// close lets the page go, and removes it when nothing is pending. That somebody else has
// removed it is no failure.
func (p *pending) close() error {
	if p == nil {
		return nil
	}

	var gone error
	if p.page == nil || p.unsettled() == 0 {
		gone = p.remove()
	}
	err := unshare(p.page)
	p.page = nil

	if closed := p.file.Close(); !errors.Is(closed, os.ErrClosed) {
		err = errors.Join(err, closed)
	}
	return errors.Join(gone, err)
}

// remove removes the page, if it is still there and this one.
func (p *pending) remove() error {
	own, err := p.file.Stat()
	if err != nil {
		return err
	}
	if there, err := os.Stat(p.path); err != nil || !os.SameFile(own, there) {
		return nil
	}
	if !removesOpen {
		if err := p.file.Close(); err != nil {
			return err
		}
	}
	if err := os.Remove(p.path); !errors.Is(err, os.ErrNotExist) {
		return err
	}

	return nil
}
