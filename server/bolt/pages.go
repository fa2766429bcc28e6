package bolt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"math/bits"
	"os"
	"strings"

	"fhirdest.example/certs/disk"
)

// Bolt reads its file through a memory mapping and believes what it finds there: a
// file that is cut short, or a pointer that leads in a circle, ends the process.
// The functions here read a file's pages with plain reads, before Bolt does.
//
// A page begins with its number (8 bytes), flags (2), count of elements (2) and
// count of pages that it goes on over (4). Numbers are in the machine's own
// order. Elements follow, then their keys and values, without a gap.
const (
	pageHeader    = 16
	leafElement   = 16 // flags, offset of the key from here, length of key, length of value: 4 bytes each
	branchElement = 16 // offset of the key from here and its length: 4 bytes each; page: 8
	bucketHeader  = 16 // page (0: the bucket's only page follows), sequence: 8 bytes each
	metaLength    = 64
	metaMagic     = 0xED0CDAED
	metaVersion   = 2

	branchPage   = 0x01
	leafPage     = 0x02
	metaPage     = 0x04
	freelistPage = 0x10
	bucketValue  = 0x01 // flag of a leaf's element: its value is a bucket

	maxDepth   = 32 // of the tree: Bolt's pages have at least two keys
	noFreelist = 1<<64 - 1
)

// deepest is the size up to which every page of a file is read before it is
// opened, some 0.3 s for the largest; of a larger file only those pages that
// lead to others are.
const deepest = 256 << 20

// meta is what one of a file's two first pages describes: a state of the file.
type meta struct {
	pageSize             int
	root, freelist, high uint64 // pages; high is the number of pages
	sequence             uint64 // of the root bucket
	commit               uint64
}

// pageFault is why a file's pages cannot be used.
type pageFault struct{ problem string }

func (f *pageFault) Error() string { return f.problem }

func faultf(format string, args ...any) error {
	return &pageFault{fmt.Sprintf(format, args...)}
}

// checkFile reads the pages of a file that nobody writes to, and returns which there
// are. The error is an *Error that names the file when it is cut short or damaged.
func checkFile(f *os.File, path string) (*pageWalk, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, openError(path, err)
	}

	m := disk.Map(f, st.Size())
	defer m.Close()

	w, err := checkPageFile(m, st.Size(), st.Size() <= deepest)
	if err == nil {
		return w, nil
	}

	return nil, &Error{
		Path:    path,
		Problem: err.Error(),
		Hint:    "restore it from a backup (destination restore)",
		Err:     err,
	}
}

// checkPageFile walks through the pages of a file; deep has it read those too that lead
// to no others.
func checkPageFile(f io.ReaderAt, size int64, deep bool) (*pageWalk, error) {
	m, err := latestMeta(f, size)
	if err != nil {
		return nil, err
	}
	if need := int64(m.high) * int64(m.pageSize); m.high > 1<<50 || size < need {
		return nil, faultf(
			"is cut short: it has %d bytes, and its %d pages need %d",
			size,
			m.high,
			need,
		)
	}

	w := &pageWalk{
		file: f,
		meta: m,
		seen: make(pageSet, m.high/64+1),
		deep: deep,
	}

	if !deep {
		w.leaves = make(pageSet, len(w.seen))
	}
	if err := w.freePages(); err != nil {
		return nil, err
	}
	if err := w.page(m.root, "", nil, nil, 0); err != nil {
		return nil, err
	}

	return w, w.meetLeaves()
}

// latestMeta reads both descriptions of the file. Bolt would go back to the
// other one when the newer is damaged, and so lose a commit without a word.
func latestMeta(f io.ReaderAt, size int64) (m meta, err error) {
	first, err := readMeta(f, 0)
	if err != nil {
		if size < 2*1024 {
			return m, faultf("is cut short: it has %d bytes", size)
		}
		return m, err
	}

	second, err := readMeta(f, int64(first.pageSize))
	if err != nil {
		if size < 2*int64(first.pageSize) {
			return m, faultf("is cut short: it has %d bytes", size)
		}
		return m, err
	}

	if first.pageSize != second.pageSize {
		return m, faultf("is damaged: its two descriptions differ in the size of pages")
	}
	if first.commit > second.commit {
		return first, nil
	}

	return second, nil
}

func readMeta(f io.ReaderAt, at int64) (meta, error) {
	var b [pageHeader + metaLength]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		return meta{}, faultf("is no Bolt file, or is damaged: its description at byte %d cannot be read: %v",
			at, err)
	}

	p, order := b[pageHeader:], binary.NativeEndian
	sum := fnv.New64a()
	sum.Write(p[:56])
	size := order.Uint32(p[8:])
	if order.Uint32(p) != metaMagic || order.Uint32(p[4:]) != metaVersion ||
		order.Uint64(p[56:]) != sum.Sum64() ||
		order.Uint16(b[8:])&metaPage == 0 || size < 1024 || size > 1<<16 || size&(size-1) != 0 {
		return meta{}, faultf(
			"is no Bolt file, or is damaged: its description at byte %d has another checksum",
			at,
		)
	}

	return meta{
		pageSize: int(size),
		root:     order.Uint64(p[16:]),
		sequence: order.Uint64(p[24:]),
		freelist: order.Uint64(p[32:]),
		high:     order.Uint64(p[40:]),
		commit:   order.Uint64(p[48:]),
	}, nil
}

// pageWalk goes through the tree of a file's pages.
type pageWalk struct {
	file   io.ReaderAt
	meta   meta
	seen   pageSet // those that were met, or are free
	leaves pageSet // those that are put off, see meetLeaves
	deep   bool
}

// pageSet has a bit for each page of a file.
type pageSet []uint64

func (s pageSet) has(page uint64) bool { return s[page/64]&(1<<(page%64)) != 0 }

func (s pageSet) add(page uint64) { s[page/64] |= 1 << (page % 64) }

// meet marks the pages of one run as met, each once.
func (w *pageWalk) meet(first, n uint64) error {
	if first < 2 || first >= w.meta.high || n > w.meta.high-first {
		return faultf("is damaged: page %d is not in the file", first)
	}

	for p := first; p < first+n; p++ {
		if w.seen.has(p) {
			return usedTwice(p)
		}
		w.seen.add(p)
	}

	return nil
}

func usedTwice(page uint64) error {
	return faultf("is damaged: page %d is used twice, or free and used", page)
}

// read returns a page with those that it goes on over.
func (w *pageWalk) read(id uint64) ([]byte, error) {
	b := make([]byte, w.meta.pageSize)
	if id < 2 || id >= w.meta.high {
		return nil, faultf("is damaged: page %d is not in the file", id)
	}

	at := int64(id) * int64(w.meta.pageSize)
	if _, err := w.file.ReadAt(b, at); err != nil {
		return nil, faultf("cannot be read at page %d: %v", id, err)
	}
	if binary.NativeEndian.Uint64(b) != id {
		return nil, faultf(
			"is damaged: page %d calls itself %d",
			id,
			binary.NativeEndian.Uint64(b),
		)
	}

	more := uint64(binary.NativeEndian.Uint32(b[12:]))
	if more >= w.meta.high {
		return nil, faultf("is damaged: page %d is longer than the file", id)
	}
	if err := w.meet(id, 1+more); err != nil || more == 0 {
		return b, err
	}

	b = make([]byte, (1+int(more))*w.meta.pageSize)
	if _, err := w.file.ReadAt(b, at); err != nil {
		return nil, faultf("cannot be read at page %d: %v", id, err)
	}
	return b, nil
}

// freePages marks the pages that the list of free pages has, if there is one.
func (w *pageWalk) freePages() error {
	if w.meta.freelist == noFreelist {
		return nil
	}

	b, err := w.read(w.meta.freelist)
	if err != nil {
		return err
	}

	order := binary.NativeEndian
	ids, n := b[pageHeader:], uint64(order.Uint16(b[10:]))
	if n == 0xFFFF { // the count does not fit into its field, and is the first element
		n, ids = order.Uint64(ids), ids[8:]
	}
	if order.Uint16(b[8:]) != freelistPage || n > uint64(len(ids)/8) {
		return faultf("is damaged: page %d is no list of free pages", w.meta.freelist)
	}

	for i := range n {
		if err := w.meet(order.Uint64(ids[8*i:]), 1); err != nil {
			return err
		}
	}

	return nil
}

// page walks through the page with that number and all below it. Its keys must
// be from from up to, but not including, to; nil is no bound.
func (w *pageWalk) page(id uint64, bucket string, from, to []byte, depth int) error {
	if depth > maxDepth {
		return faultf("is damaged: its pages lead in a circle")
	}
	b, err := w.read(id)
	if err != nil {
		return err
	}
	return w.elements(b, id, bucket, from, to, depth)
}

func (w *pageWalk) elements(
	b []byte, id uint64, bucket string, from, to []byte, depth int,
) error {
	branch := false
	switch flags := binary.NativeEndian.Uint16(b[8:]); flags {
	case branchPage:
		branch = true
	case leafPage:
	default:
		return faultf("is damaged: page %d has flags %x", id, flags)
	}

	all, ok := splitPage(b, branch)
	if !ok || branch && len(all) == 0 {
		return faultf("is damaged: the elements of page %d do not fit together", id)
	}

	leaves := branch && !w.deep && isFlat(bucket) && w.leaf(all[0].page) > 0
	for i, e := range all {
		next := to
		if i+1 < len(all) {
			next = all[i+1].key
		}
		if from != nil && bytes.Compare(e.key, from) < 0 && (i > 0 || !branch) ||
			next != nil && bytes.Compare(e.key, next) >= 0 {
			return faultf(
				"is damaged: the keys of page %d (bucket %s) are not in order",
				id,
				bucket,
			)
		}

		err := error(nil)
		if leaves {
			err = w.putOff(e.page)
		} else {
			err = w.below(e, branch, bucket, next, depth)
		}

		if err != nil {
			return err
		}
	}

	return nil
}

// putOff leaves a page to meetLeaves.
func (w *pageWalk) putOff(page uint64) error {
	if page >= w.meta.high {
		return faultf("is damaged: page %d is not in the file", page)
	}
	if w.leaves.has(page) {
		return usedTwice(page)
	}
	w.leaves.add(page)
	return nil
}

// meetLeaves meets the pages that were put off, in the order in which they are in the
// file: one that is not in memory is then read with its neighbours.
func (w *pageWalk) meetLeaves() error {
	for i, word := range w.leaves {
		for ; word != 0; word &= word - 1 {
			page := uint64(64*i + bits.TrailingZeros64(word))
			err := error(nil)
			if n := w.leaf(page); n > 0 {
				err = w.meet(page, n)
			} else { // damaged, or not at the depth of its siblings
				err = w.page(page, "", nil, nil, 1)
			}

			if err != nil {
				return err
			}
		}
	}

	return nil
}

// below goes to what an element leads to: a page, or a bucket.
func (w *pageWalk) below(
	e pageElement, branch bool, bucket string, next []byte, depth int,
) error {
	switch {
	case branch:
		return w.page(e.page, bucket, e.key, next, depth+1)

	case e.flags&bucketValue == 0:
		return nil
	case len(e.value) < bucketHeader:
		return faultf("is damaged: bucket %q is cut short", e.key)
	}

	name := printable(e.key)
	if bucket != "" {
		name = bucket + "/" + name
	}
	if root := binary.NativeEndian.Uint64(e.value); root != 0 {
		return w.page(root, name, nil, nil, depth+1)
	}
	if len(e.value) < bucketHeader+pageHeader {
		return faultf("is damaged: bucket %q is cut short", e.key)
	}

	return w.elements(e.value[bucketHeader:], 0, name, nil, nil, depth+1)
}

// flat are the buckets of ours that have many rows and no buckets in them, so that their
// leaves lead to no other pages.
var flat = map[string]bool{
	`"registrations"`: true,
	`"clients"`:       true,
	`"expiries"`:      true,
	`"docs"`:          true,
	`"ids"`:           true,
	`"versions"`:      true,
	`"index"`:         true,
	`"segments"`:      true,
	`"records"`:       true,
}

func isFlat(bucket string) bool {
	parent, _, nested := strings.Cut(bucket, "/")
	return flat[bucket] || nested && (parent == `"jti"` || parent == `"tokens"` || parent == `"log"`)
}

// leaf returns how many pages the leaf that begins at a page has, and 0 for a page that
// is no leaf.
func (w *pageWalk) leaf(id uint64) uint64 {
	var b [pageHeader]byte
	_, err := w.file.ReadAt(b[:], int64(id)*int64(w.meta.pageSize))
	if err != nil || binary.NativeEndian.Uint64(b[:]) != id || binary.NativeEndian.Uint16(b[8:]) != leafPage {
		return 0
	}
	return 1 + uint64(binary.NativeEndian.Uint32(b[12:]))
}

// storeFreePages writes the list of free pages to a file that has none, as Bolt would
// at a commit: Bolt itself would read each page of the file three times to find them.
// The program must have the file alone. Where there is no room for the list, Bolt finds
// the pages.
func (w *pageWalk) storeFreePages(f *os.File) error {
	if w.meta.freelist != noFreelist {
		return nil
	}

	list := w.freeList()
	pages := uint64(len(list)) / uint64(w.meta.pageSize)
	_, err := f.WriteAt(list, int64(w.meta.high)*int64(w.meta.pageSize))
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return nil // nothing refers to it
	}

	m := w.meta
	m.freelist = m.high
	m.high += pages
	m.commit++
	slot := m.commit % 2
	if _, err := f.WriteAt(m.encode(slot), int64(slot)*int64(m.pageSize)); err != nil {
		return err
	}

	return f.Sync()
}

// freeList returns the pages of a list of the pages that were not met.
func (w *pageWalk) freeList() []byte {
	order := binary.NativeEndian
	const many = 0xFFFF // the count does not fit into its field, and is the first element
	b := make([]byte, pageHeader+8)
	n := uint64(0)
	for p := uint64(2); p < w.meta.high; p++ {
		if !w.seen.has(p) {
			b = order.AppendUint64(b, p)
			n++
		}
	}

	if n < many {
		b = append(b[:pageHeader], b[pageHeader+8:]...)
		order.PutUint16(b[10:], uint16(n))
	} else {
		order.PutUint16(b[10:], many)
		order.PutUint64(b[pageHeader:], n)
	}

	size := w.meta.pageSize
	b = append(b, make([]byte, (size-len(b)%size)%size)...)

	order.PutUint64(b, w.meta.high)
	order.PutUint16(b[8:], freelistPage)
	order.PutUint32(b[12:], uint32(len(b)/size-1))
	return b
}

// encode returns the beginning of a page that describes this state of the file.
func (m meta) encode(page uint64) []byte {
	order := binary.NativeEndian
	b := order.AppendUint64(nil, page)
	b = order.AppendUint16(b, metaPage)
	b = append(b, make([]byte, 6)...)

	for _, n := range []uint32{metaMagic, metaVersion, uint32(m.pageSize), 0} {
		b = order.AppendUint32(b, n)
	}
	for _, n := range []uint64{m.root, m.sequence, m.freelist, m.high, m.commit} {
		b = order.AppendUint64(b, n)
	}
	sum := fnv.New64a()
	sum.Write(b[pageHeader:])

	return order.AppendUint64(b, sum.Sum64())
}

type pageElement struct {
	flags      uint32
	page       uint64
	key, value []byte
}

// splitPage splits a page into its elements; ok is false when these do not
// follow each other without a gap, as Bolt writes them.
func splitPage(b []byte, branch bool) (all []pageElement, ok bool) {
	order := binary.NativeEndian
	n := int(order.Uint16(b[10:]))
	at := pageHeader + n*leafElement // of the next key; elements of both kinds are of one length
	if at > len(b) {
		return nil, false
	}

	all = make([]pageElement, n)
	for i := range all {
		from := pageHeader + i*leafElement
		el := b[from : from+leafElement]
		e := &all[i]
		var offset, keyLength, valueLength uint64
		if branch {
			offset, keyLength = uint64(order.Uint32(el)), uint64(order.Uint32(el[4:]))
			e.page = order.Uint64(el[8:])
		} else {
			e.flags = order.Uint32(el)
			offset, keyLength = uint64(order.Uint32(el[4:])), uint64(order.Uint32(el[8:]))
			valueLength = uint64(order.Uint32(el[12:]))
		}

		if uint64(from)+offset != uint64(at) || keyLength == 0 ||
			keyLength+valueLength > uint64(len(b)-at) ||
			e.flags&^bucketValue != 0 {
			return nil, false
		}

		e.key = b[at : at+int(keyLength)]
		at += int(keyLength)
		e.value = b[at : at+int(valueLength)]
		at += int(valueLength)
	}

	return all, true
}
