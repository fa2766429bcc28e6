// Package load stores resources from files of NDJSON: one line is one resource. How
// far it is, is stored with the resources, so that a load that was interrupted, by
// kill -9 too, goes on where it was and stores nothing twice.
package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"

	"github.com/go-json-experiment/json"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/tree"
)

// Service is the part of fhir.Service that loads need.
type Service interface {
	PrepareLoad(ctx context.Context, a *fhir.Asked, lines []fhir.Line) *fhir.Load
	StoreLoad(
		ctx context.Context, l *fhir.Load, mark string, was []byte, place func(*fhir.Loaded) ([]byte, error),
	) (*fhir.Loaded, error)
	Place(ctx context.Context, mark string) ([]byte, error)
}

// Place is how far a load is.
type Place struct {
	File    string           `json:"file"`   // identifies the file: another one is loaded from its start
	Offset  int64            `json:"offset"` // of the next line, in bytes
	Line    int64            `json:"line"`   // lines read
	Stored  map[string]int64 `json:"stored"` // resources stored, by type
	Refused int64            `json:"refused"`
	// First are the first lines that were refused, at most MaxListed.
	First []fhir.Refused `json:"first,omitempty"`
	Done  bool           `json:"done"`
}

// MaxListed bounds the refused lines of which the reasons are kept.
const MaxListed = 100

// Total is how many resources were stored.
func (p *Place) Total() int64 {
	n := int64(0)
	for _, of := range p.Stored {
		n += of
	}
	return n
}

// Config is what a load needs.
type Config struct {
	Service Service
	Asked   *fhir.Asked // whose load it is
	Mark    string      // under which its Place is stored
	File    string      // identifies the file's content
	// Progress is called after each transaction; its error ends the load.
	Progress func(Place) error
}

// Bounds of one transaction.
const (
	batchLines = 2000
	batchBytes = 4 << 20
)

// Run loads a file from where an earlier Run under the same mark ended. An error
// leaves what is stored, and the next Run goes on.
func Run(ctx context.Context, c Config, from io.ReadSeeker) (Place, error) {
	l := &loading{Config: c}
	if err := l.begin(ctx, from); err != nil || l.at.Done {
		return l.at, err
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	prepared := make(chan step, 1) // the next one is prepared while one is stored
	go l.prepare(ctx, prepared)

	for s := range prepared {
		if s.err != nil {
			return l.at, s.err
		}
		if err := l.store(ctx, s); err != nil {
			return l.at, err
		}
		if err := l.Progress(l.at); err != nil {
			return l.at, err
		}
	}

	return l.at, ctx.Err()
}

// loading is a load under way.
type loading struct {
	Config
	at    Place
	value []byte // of the mark, as it is stored
	in    *bufio.Reader

	offset, line int64 // what is read so far
}

// step is one transaction's lines.
type step struct {
	load         *fhir.Load
	offset, line int64 // behind them
	last         bool
	err          error
}

// begin finds the place where the load goes on.
func (l *loading) begin(ctx context.Context, from io.ReadSeeker) error {
	stored, err := l.Service.Place(ctx, l.Mark)
	if err != nil {
		return err
	}

	l.value = stored
	if stored != nil {
		if err := json.Unmarshal(stored, &l.at); err != nil {
			return fmt.Errorf("load: the place in the file: %w", err)
		}
	}

	if l.at.File != l.File {
		l.at = Place{File: l.File}
	}
	if l.at.Stored == nil {
		l.at.Stored = map[string]int64{}
	}

	l.offset = l.at.Offset
	l.line = l.at.Line
	if _, err := from.Seek(l.offset, io.SeekStart); err != nil {
		return fmt.Errorf("load: %w", err)
	}

	l.in = bufio.NewReaderSize(from, 1<<20)
	return nil
}

// prepare reads and validates all lines, until it has sent the last step or an error.
func (l *loading) prepare(ctx context.Context, out chan<- step) {
	defer close(out)
	for last := false; !last; {
		var lines []fhir.Line
		var err error
		lines, last, err = l.read()
		s := step{
			offset: l.offset,
			line:   l.line,
			last:   last,
			err:    err,
		}

		if err == nil {
			s.load = l.Service.PrepareLoad(ctx, l.Asked, lines)
		}

		select {
		case out <- s:
		case <-ctx.Done():
			return
		}

		if err != nil {
			return
		}
	}
}

// read reads the lines of one step; last is at the end of the file.
func (l *loading) read() (lines []fhir.Line, last bool, err error) {
	for size := 0; len(lines) < batchLines && size < batchBytes; {
		body, err := l.readLine()
		if errors.Is(err, io.EOF) {
			return lines, true, nil
		}
		if err != nil {
			return nil, false, err
		}

		size += len(body)
		if body = bytes.TrimSpace(body); len(body) > 0 {
			lines = append(lines, fhir.Line{
				Number: l.line,
				Body:   body,
			})
		}
	}

	return lines, false, nil
}

// readLine reads one line. Of a line that is longer than a resource may be, only so
// much is kept that it is refused for its length.
func (l *loading) readLine() ([]byte, error) {
	var line []byte
	for {
		part, err := l.in.ReadSlice('\n')
		l.offset += int64(len(part))
		if len(line) <= tree.MaxBytes {
			line = append(line, part...)
		}

		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(line) > 0, err == nil:
			l.line++
			return line, nil
		case errors.Is(err, io.EOF):
			return nil, io.EOF
		}

		return nil, fmt.Errorf("load: %w", err)
	}
}

// store stores one step with the place behind it.
func (l *loading) store(ctx context.Context, s step) error {
	var next Place
	var value []byte
	_, err := l.Service.StoreLoad(ctx, s.load, l.Mark, l.value, func(done *fhir.Loaded) (_ []byte, err error) {
		next = l.at
		next.Offset = s.offset
		next.Line = s.line
		next.Done = s.last
		next.Stored = maps.Clone(l.at.Stored)
		for typ, n := range done.Stored {
			next.Stored[typ] += n
		}

		next.Refused += int64(len(done.Refused))
		room := max(0, MaxListed-len(next.First))
		next.First = append(next.First[:len(next.First):len(next.First)],
			done.Refused[:min(room, len(done.Refused))]...)
		value, err = json.Marshal(next, json.Deterministic(true))
		return value, err
	})
	if err == nil {
		l.at, l.value = next, value
	}

	return err
}
