package bolt

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Of a large file's leaves that lead nowhere, the heads are read: a damaged one is found
// before Bolt writes beside it.
func TestLeavesOfLargeFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trust.bolt")
	leavePagesFree(t, path, false)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}

	w, err := checkPageFile(bytes.NewReader(file), int64(len(file)), false)
	if err != nil {
		t.Fatal(err)
	}
	branch, leaf, next := neighbours(t, file, w)

	order := binary.NativeEndian
	at := func(b []byte, page uint64) []byte {
		return b[page*uint64(w.meta.pageSize):]
	}
	for _, row := range []struct {
		name, problem string
		damage        func(b []byte)
	}{
		{"number", "calls itself", func(b []byte) { order.PutUint64(at(b, leaf), next) }},
		{"flags", "has flags", func(b []byte) { order.PutUint16(at(b, leaf)[8:], freelistPage) }},
		{"goes over the next", "used twice", func(b []byte) {
			order.PutUint32(at(b, leaf)[12:], uint32(next-leaf))
		}},
		{"goes over the end", "not in the file", func(b []byte) {
			order.PutUint32(at(b, leaf)[12:], uint32(w.meta.high-leaf))
		}},
		{"is met twice", "used twice", func(b []byte) {
			order.PutUint64(at(b, branch)[pageHeader+branchElement+8:], leaf)
		}},
		{"is behind the end", "not in the file", func(b []byte) {
			order.PutUint64(at(b, branch)[pageHeader+branchElement+8:], w.meta.high)
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := bytes.Clone(file)
			row.damage(b)
			_, err := checkPageFile(bytes.NewReader(b), int64(len(b)), false)
			if err == nil || !strings.Contains(err.Error(), row.problem) {
				t.Errorf("%v, want one that %s", err, row.problem)
			}
		})
	}
}

// neighbours returns a page that leads to leaves only, the first of these, and the first
// leaf behind that one in the file.
func neighbours(t *testing.T, file []byte, w *pageWalk) (branch, leaf, next uint64) {
	t.Helper()
	size := uint64(w.meta.pageSize)
	for branch = 2; branch < w.meta.high; branch++ {
		page := file[branch*size:]
		if !w.seen.has(branch) || binary.NativeEndian.Uint64(page) != branch ||
			binary.NativeEndian.Uint16(page[8:]) != branchPage {
			continue
		}

		all, ok := splitPage(page[:size], true)
		if !ok || !w.leaves.has(all[0].page) {
			continue
		}

		leaf = all[0].page
		for next = leaf + 1; next < w.meta.high; next++ {
			if w.leaves.has(next) {
				return branch, leaf, next
			}
		}
	}

	t.Fatal("no page leads to leaves")
	return 0, 0, 0
}
