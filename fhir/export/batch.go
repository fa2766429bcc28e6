package export

import (
	"context"
	"fmt"
	"runtime/debug"
)

// Bounds of what one transaction copies: it must be short, and an export of any size
// has two batches in memory.
const (
	batchRows  = 2000
	batchBytes = 2 << 20
)

// batch is rows copied out of one transaction.
type batch struct {
	rows  []row
	arena []byte
}

// row is one line to write.
type row struct {
	list, typ string
	from, to  int // in the arena
}

// newBatch returns an empty batch with room for what most transactions copy.
func newBatch() *batch {
	return &batch{
		rows:  make([]row, 0, batchRows),
		arena: make([]byte, 0, batchBytes+batchBytes/8),
	}
}

func (b *batch) reset() { b.rows, b.arena = b.rows[:0], b.arena[:0] }

func (b *batch) full() bool {
	return len(b.rows) >= batchRows || len(b.arena) >= batchBytes
}

func (b *batch) add(list, typ string, body []byte) {
	from := len(b.arena)
	b.arena = append(b.arena, body...)
	b.rows = append(b.rows, row{
		list: list,
		typ:  typ,
		from: from,
		to:   len(b.arena),
	})
}

// writer writes batches to the files while the next one is copied out of the store.
type writer struct {
	full, empty chan *batch
	ended       chan error
}

// startWriter starts a writer. It calls failed when a batch cannot be written; what
// comes after that one is dropped.
func startWriter(out *output, failed context.CancelFunc) *writer {
	w := &writer{
		full:  make(chan *batch),
		empty: make(chan *batch, 1),
		ended: make(chan error, 1),
	}
	w.empty <- newBatch()

	go func() {
		var err error
		for b := range w.full {
			if err == nil {
				err = out.write(b)
			}
			if err != nil {
				failed()
			}
			w.empty <- b
		}
		w.ended <- err
	}()
	return w
}

// swap has a batch written, and returns another one.
func (w *writer) swap(b *batch) *batch {
	w.full <- b
	return <-w.empty
}

// close waits for the last batch, and returns why one could not be written.
func (w *writer) close() error {
	close(w.full)
	return <-w.ended
}

// write writes the rows of a batch. A panic in it is the failure of one job.
func (o *output) write(b *batch) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("export: writing panicked: %v\n%s", p, debug.Stack())
		}
	}()

	for _, r := range b.rows {
		if err := o.add(r.list, r.typ, b.arena[r.from:r.to]); err != nil {
			return err
		}
	}
	return nil
}
