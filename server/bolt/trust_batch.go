package bolt

import (
	"encoding/binary"

	"go.etcd.io/bbolt"

	"fhirdest.example/udap/trace"
)

// defaultMaxBatch bounds how many effects share one commit, so that the first
// of them does not wait long for the last.
const defaultMaxBatch = 2048

// trustBatch is one shared transaction of trust.bolt while it is being filled.
// Effects write to buckets that they get from it, and to no others.
type trustBatch struct {
	tx      *bbolt.Tx
	minutes map[minuteBucket]minuteRows
	touched map[trace.ClientID]bool // clients whose registration this transaction changes
	swept   bool
	wrote   bool
	key     [8]byte  // see number
	after   []func() // called when the commit has succeeded, before any caller is answered
}

type minuteBucket struct {
	parent string
	minute uint32
}

// minuteRows are the rows of one expiry minute.
type minuteRows struct {
	*bbolt.Bucket
	rows rows
}

func newTrustBatch(tx *bbolt.Tx) *trustBatch {
	return &trustBatch{
		tx:      tx,
		minutes: make(map[minuteBucket]minuteRows, 4),
		touched: map[trace.ClientID]bool{},
	}
}

// Changed implements shared.Batch.
func (b *trustBatch) Changed() bool {
	changed := b.wrote
	b.wrote = false
	return changed
}

func (b *trustBatch) transaction() *bbolt.Tx { return b.tx }

func (b *trustBatch) settle() error { return nil }

func (b *trustBatch) committed() {
	for _, f := range b.after {
		f()
	}
}

// number returns the key of a row that is put next: Bolt copies it.
func (b *trustBatch) number(n uint64) []byte {
	binary.BigEndian.PutUint64(b.key[:], n)
	return b.key[:]
}

// writable returns a bucket to write to.
func (b *trustBatch) writable(name []byte) *bbolt.Bucket {
	b.wrote = true
	return b.tx.Bucket(name)
}

// minute returns the bucket of one expiry minute, to write to. Keys in it only
// grow, so its pages are filled whole.
func (b *trustBatch) minute(parent rows, minute uint32) (minuteRows, error) {
	b.wrote = true
	id := minuteBucket{parent.name, minute}
	if m := b.minutes[id]; m.Bucket != nil {
		return m, nil
	}

	name := binary.BigEndian.AppendUint32(nil, minute)
	m, err := b.tx.Bucket([]byte(parent.name)).CreateBucketIfNotExists(name)
	if err != nil {
		return minuteRows{}, err
	}

	m.FillPercent = 1
	rows := minuteRows{m, parent.within(name)}
	b.minutes[id] = rows
	return rows, nil
}

// spentRefusal is the error of an effect that wrote nothing but uses up its jti
// all the same.
type spentRefusal struct{ err error }

func (r *spentRefusal) Error() string {
	return r.err.Error()
}
