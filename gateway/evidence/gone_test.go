package evidence

import (
	"fmt"
	"os"
	"testing"
	"time"
)

// What is taken away under a running program is told of as lost, and what comes after
// stands where it is looked for.
func TestFileTakenAwayIsTold(t *testing.T) {
	for name, c := range map[string]struct {
		take func(path string) error
		left int64 // of ten lines
		rest int64 // pieces of lines
	}{
		"removed":           {os.Remove, 0, 0},
		"renamed":           {func(p string) error { return os.Rename(p, p+".taken") }, 0, 0},
		"cut to nothing":    {func(p string) error { return os.Truncate(p, 0) }, 0, 0},
		"cut within a line": {func(p string) error { return cutAfter(p, 3, 10) }, 3, 1},
		"cut between lines": {func(p string) error { return cutAfter(p, 4, 0) }, 4, 0},
		"replaced": {func(p string) error {
			return os.Rename(writeOther(p), p)
		}, 0, 0},
		"left alone": {func(string) error { return nil }, 10, 0},
	} {
		t.Run(name, func(t *testing.T) {
			for _, more := range []int64{0, 1, 5} {
				h := newHop(t, "gateway", Options{Flush: time.Millisecond})
				for i := range 10 {
					h.add(0, fmt.Sprint(i), fmt.Sprint(i))
				}
				if err := h.log.Flush(); err != nil {
					t.Fatal(err)
				}
				if err := c.take(h.path); err != nil {
					t.Fatal(err)
				}

				for i := range more {
					h.add(0, fmt.Sprint("more ", i), fmt.Sprint("more ", i))
				}
				if err := h.log.Close(); err != nil {
					t.Fatal(err)
				}
				sum, _ := compare(t, []string{h.path, h.path})
				if sum.Lost != 2*(10-c.left) || sum.Messages != c.left+more || sum.Unreadable != 2*c.rest ||
					h.log.Lost() != 10-c.left {
					t.Errorf("%s, %d more: %+v, and the log says %d", name, more, sum, h.log.Lost())
				}
			}
		})
	}
}

// cutAfter keeps so many lines, which are of one length, and bytes.
func cutAfter(path string, lines, bytes int64) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return os.Truncate(path, info.Size()/10*lines+bytes)
}

// writeOther makes an empty file beside path.
func writeOther(path string) string {
	os.WriteFile(path+".other", nil, 0o600)
	return path + ".other"
}
