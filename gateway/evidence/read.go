package evidence

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// maxLine bounds one line, in bytes.
const maxLine = 16 << 10

// reader gives the lines of one hop: its numbered files, oldest first, then the
// current one.
type reader struct {
	path  string   // of the current file
	paths []string // still to be read
	file  *os.File
	lines *bufio.Reader
	name  string // of the hop, from its first line; lines of another are unreadable
	next  *Line  // nil at the end
	lost  int64
	bad   int64 // lines that are no lines of evidence
}

// openReader returns a reader at the first line of path.
func openReader(path string) (*reader, error) {
	olds, err := rotated(path)
	if err != nil {
		return nil, err
	}

	r := &reader{
		path:  path,
		paths: append(olds, path),
	}
	if _, err := os.Stat(path); err != nil && len(olds) == 0 {
		return nil, err
	}
	if err := r.advance(); err != nil {
		return nil, err
	}

	if r.name == "" {
		r.name = strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	}
	r.lost = addUp(r.lost, leftPending(path))
	return r, nil
}

// advance reads the next line of a message into next.
func (r *reader) advance() error {
	for {
		if r.file == nil && !r.openNext() {
			r.next = nil
			return nil
		}

		b, err := r.lines.ReadSlice('\n')
		if errors.Is(err, io.EOF) && len(b) == 0 {
			r.file.Close()
			r.file = nil
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		if l := r.parse(b); l != nil {
			r.next = l
			return nil
		}
	}
}

// openNext opens the next file that is there.
func (r *reader) openNext() bool {
	for len(r.paths) > 0 {
		f, err := os.Open(r.paths[0])
		r.paths = r.paths[1:]
		if err == nil {
			r.file, r.lines = f, bufio.NewReaderSize(f, maxLine)
			return true
		}
	}

	return false
}

// parse returns the line of a message, or nil for anything else, which it counts.
func (r *reader) parse(b []byte) *Line {
	if len(b) <= 1 {
		return nil
	}

	l := new(Line)
	if !parseFast(b, l) {
		if err := json.Unmarshal(b, l); err != nil {
			r.bad++
			return nil
		}
	}

	if l.Lost > 0 {
		r.lost = addUp(r.lost, l.Lost)
		return nil
	}

	if r.name == "" {
		r.name = l.Hop
	}
	if !l.sound() || l.Hop != r.name {
		r.bad++
		return nil
	}

	return l
}

// sound reports whether a hop may have written the line.
func (l *Line) sound() bool {
	digest := func(n int64, sum string) bool {
		if n == 0 {
			return sum == ""
		}
		_, err := hex.DecodeString(sum)
		return n > 0 && len(sum) == 2*sha256.Size && err == nil
	}
	return (l.Dir == "request" && l.Status == 0 || l.Dir == "response") &&
		digest(l.BytesIn, l.SHA256In) && digest(l.BytesOut, l.SHA256Out)
}

func (r *reader) close() {
	if r.file != nil {
		r.file.Close()
	}
}
