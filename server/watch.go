package server

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"time"
)

// files are taken again when they change. Ones that do not fit (half of them is
// written, say) leave what was taken before in use.
type files struct {
	what    string // they hold, for the log
	paths   []string
	load    func() (string, error) // reads them and puts their contents in use; returns what these are
	log     *slog.Logger
	seen    [sha256.Size]byte // what those in use held
	refused [sha256.Size]byte // what those that did not fit held
}

// newFiles watches files that are about to be read for the first time.
func newFiles(
	what string, paths []string, log *slog.Logger, load func() (string, error),
) *files {
	f := &files{
		what:  what,
		paths: paths,
		log:   log,
		load:  load,
	}
	f.seen = f.look()
	return f
}

// look digests the files so that a change of any shows. Times of change would not
// do: two changes may bear the same.
func (f *files) look() (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, path := range f.paths {
		b, err := os.ReadFile(path)
		fmt.Fprintf(h, "%v %d %s", err == nil, len(b), b)
	}
	h.Sum(sum[:0])
	return sum
}

// reload reads the files again if they changed or force is set.
func (f *files) reload(force bool) {
	seen := f.look()
	if seen == f.seen && !force {
		return
	}

	found, err := f.load()
	if err != nil {
		// Tried again at each look, as another file may be about to change; logged once.
		if seen != f.refused || force {
			f.log.Warn(f.what+" was not replaced", "cause", err)
		}
		f.refused = seen
		return
	}

	f.seen = seen
	f.log.Info(f.what+" was replaced", "by", found)
}

// watch looks at files until ctx ends, and reads all again when now receives.
func watch(ctx context.Context, every time.Duration, now <-chan struct{}, all ...*files) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		force := false
		select {
		case <-ctx.Done():
			return
		case <-now:
			force = true
		case <-tick.C:
		}

		for _, f := range all {
			f.reload(force)
		}
	}
}
