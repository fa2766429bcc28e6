package export

// Bounds of what one transaction copies: it must be short, and an export of any size
// has a few batches in memory.
const (
	batchRows  = 1000
	batchBytes = 1 << 20
)

// batch is what was copied out of one transaction.
type batch struct {
	rows   []row
	arena  []byte
	about  map[string]bool // patients whose data it has
	shared worklist        // what belongs to no patient and its resources refer to

	filled chan struct{} // has one when it is full, or err is why it is not
	err    error
	last   uint64 // number of a resource up to which all were read
}

// row is one line to write.
type row struct {
	list, typ string
	from, to  int // in the arena
}

// newBatch returns an empty batch with room for what most transactions copy.
func newBatch() *batch {
	return &batch{
		rows:   make([]row, 0, batchRows),
		arena:  make([]byte, 0, batchBytes+batchBytes/8),
		about:  map[string]bool{},
		filled: make(chan struct{}, 1),
	}
}

func (b *batch) reset() {
	b.rows = b.rows[:0]
	b.arena = b.arena[:0]
	clear(b.about)
	b.shared.reset()
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

// write writes the rows of a batch.
func (o *output) write(b *batch) error {
	for _, r := range b.rows {
		if err := o.add(r.list, r.typ, b.arena[r.from:r.to]); err != nil {
			return err
		}
	}
	return nil
}
