package board

import (
	"bytes"
	"io"
	"os"
	"sync"

	"github.com/go-json-experiment/json"

	"fhirdest.example/gateway/evidence"
)

// Bounds of what is remembered of evidence.
const (
	maxDigests = 20_000   // of messages
	firstRead  = 1 << 20  // bytes of the end of a file, when it is read first
	mostRead   = 16 << 20 // bytes of a file at once; more is passed over
)

// ledger follows the evidence of the other hops as it is written, so that a page can
// show where a message has been while that happens.
type ledger struct {
	files []string

	mu      sync.Mutex
	offsets []int64 // of what was read; -1: nothing was
	seen    map[string]passage
	order   []string // digests, the one that came first first
}

// passage is where a message has been, by its digest.
type passage struct {
	hops    uint64 // bit i: file i has the message, in and out alike
	changed bool   // a hop got or sent this message, and another one on its other side
}

func newLedger(files []string) *ledger {
	l := &ledger{
		files: files[:min(len(files), 64)],
		seen:  map[string]passage{},
	}
	for range l.files {
		l.offsets = append(l.offsets, -1)
	}
	return l
}

// read takes over what was written since.
func (l *ledger) read() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, file := range l.files {
		for line := range bytes.Lines(l.further(i, file)) {
			var e evidence.Line
			if json.Unmarshal(line, &e) == nil {
				l.note(i, &e)
			}
		}
	}
}

// further returns the whole lines of a file that were not read yet. A file that has
// become shorter is another one.
func (l *ledger) further(i int, file string) []byte {
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()

	st, err := f.Stat()
	if err != nil {
		return nil
	}
	from, size := l.offsets[i], st.Size()
	switch {
	case from < 0:
		from = max(0, size-firstRead)
	case size < from:
		from = 0
	case size-from > mostRead:
		from = size - mostRead
	}

	data := make([]byte, size-from)
	n, err := io.ReadFull(io.NewSectionReader(f, from, size-from), data)
	if err != nil && n == 0 {
		return nil
	}
	whole := bytes.LastIndexByte(data[:n], '\n') + 1
	l.offsets[i] = from + int64(whole)

	return data[:whole]
}

// note remembers one line. l.mu is held.
func (l *ledger) note(i int, e *evidence.Line) {
	for _, sum := range []string{e.SHA256In, e.SHA256Out} {
		if sum == "" {
			continue
		}
		p, known := l.seen[sum]
		if !known {
			l.order = append(l.order, sum)
		}
		if e.SHA256In == e.SHA256Out {
			p.hops |= 1 << i
		} else if !e.Mapped {
			p.changed = true
		}
		l.seen[sum] = p
	}

	for len(l.order) > maxDigests {
		delete(l.seen, l.order[0])
		l.order = l.order[1:]
	}
}

// passed returns how many hops passed an exchange as it was, and whether one changed
// its request or its answer.
func (l *ledger) passed(request, answer string) (hops int, changed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	to, back := l.seen[request], l.seen[answer]
	for both := to.hops & back.hops; both != 0; both &= both - 1 {
		hops++
	}
	return hops, to.changed || back.changed
}
