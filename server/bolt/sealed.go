package bolt

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"

	"go.etcd.io/bbolt"
)

// checksum is the length of what ends every value: the CRC-32C of the bucket's
// name, the key and the value.
const checksum = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// rows are the rows of one bucket. They are sealed: a row whose bytes changed, or
// that is found in another place, is recognised.
type rows struct {
	name  string
	start uint32 // CRC of the name
}

func rowsOf(name string) rows {
	return rows{name, crc32.Update(0, castagnoli, append([]byte(name), 0))}
}

// within are the rows of a bucket inside of this one.
func (r rows) within(name []byte) rows {
	return rows{r.name, crc32.Update(r.start, castagnoli, name)}
}

func (r rows) sum(key, value []byte) uint32 {
	return crc32.Update(crc32.Update(r.start, castagnoli, key), castagnoli, value)
}

// seal appends the checksum to a value.
func (r rows) seal(key, value []byte) []byte {
	return binary.BigEndian.AppendUint32(value, r.sum(key, value))
}

// open returns a sealed value without its checksum.
func (r rows) open(key, sealed []byte) (value []byte, ok bool) {
	n := len(sealed) - checksum
	if n < 0 || binary.BigEndian.Uint32(sealed[n:]) != r.sum(key, sealed[:n]) {
		return nil, false
	}
	return sealed[:n], true
}

// get returns the value of a row, nil when there is none. ok is false for a
// damaged one.
func (r rows) get(b *bbolt.Bucket, key []byte) (value []byte, ok bool) {
	sealed := b.Get(key)
	if sealed == nil {
		return nil, true
	}
	return r.open(key, sealed)
}

// stray looks for the row of a key that seems not to be there under a key whose
// bytes changed: it is where the true one would be, or just before. A damaged
// row with a similar key is one, unless genuine finds that its key is its own.
func (r rows) stray(b *bbolt.Bucket, key []byte, genuine func(key []byte) bool) (bad []byte) {
	c := b.Cursor()
	k, v := c.Seek(key)
	before, sealed := c.Prev()
	if k == nil {
		before, sealed = c.Last()
	}

	if !r.sound(k, v) && similar(k, key) && !genuine(k) {
		return bytes.Clone(k)
	}
	if !r.sound(before, sealed) && similar(before, key) && !genuine(before) {
		return bytes.Clone(before)
	}

	return nil
}

// similar reports whether two keys differ in so few bytes that one may be the
// other, damaged. The last key of a page may have lost its end, or have got bytes
// of its value.
func similar(a, b []byte) bool {
	n := 0
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			n++
		}
	}
	return len(a) > 0 && n <= maxStray
}

// maxStray is in how many bytes the key of a stray row may differ.
const maxStray = 4

// never is for keys of which two are never similar but by damage.
func never([]byte) bool { return false }

// sound reports whether a row is what was written; v is nil for none, and for a
// bucket.
func (r rows) sound(k, v []byte) bool {
	if k == nil || v == nil || r.name == "meta" && everPlain(k) {
		return true
	}
	_, ok := r.open(k, v)
	return ok
}

func (r rows) put(b *bbolt.Bucket, key, value []byte) error {
	return b.Put(key, r.seal(key, value))
}

// everPlain reports whether a row of "meta" has no checksum: every layout must
// be able to read its kind and version.
func everPlain(key []byte) bool {
	return bytes.Equal(key, kindKey) || bytes.Equal(key, versionKey) || bytes.Equal(
		key,
		sealPlaceKey,
	)
}
