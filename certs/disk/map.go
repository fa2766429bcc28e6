package disk

import (
	"io"
	"os"
)

// Mapped is a file that is read through memory where the system can do that: a few bytes
// here and there then cost a tenth of what a system call for each costs. Close leaves
// the file open.
type Mapped interface {
	io.ReaderAt
	io.Closer
}

// reads is a file that is not mapped.
type reads struct{ *os.File }

// Close leaves the file open.
func (reads) Close() error { return nil }
