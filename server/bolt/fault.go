package bolt

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"go.etcd.io/bbolt"

	"fhirdest.example/server/shared"
)

// guard turns a panic of f into an error: one request's must not end the others.
func (h *health) guard(path string, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = h.recovered(path, p)
		}
	}()

	return f()
}

// recovered returns the error for a panic. The function that has recovered it calls this
// while it is still deferred.
func (h *health) recovered(path string, p any) *shared.Panicked {
	e := &shared.Panicked{Value: p}
	if ofFile(p) {
		e.Cause = h.unreadable(path, p)
	}
	return e
}

// view is db.View, with an error in the place of a fault or a panic that comes
// from the file: of a page that cannot be read any more, or is not what Bolt
// expects.
func (h *health) view(
	ctx context.Context, db *bbolt.DB, f func(*bbolt.Tx) error,
) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}

	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		p := recover()
		if p == nil {
			return
		}

		if !ofFile(p) {
			panic(p)
		}
		err = h.unreadable(db.Path(), p)
	}()

	return db.View(f)
}

func (h *health) unreadable(path string, p any) error {
	return h.found(&Damaged{
		File:    path,
		Bucket:  "unknown",
		Key:     "unknown",
		Problem: fmt.Sprintf("cannot be read: %v", p),
	})
}

// ofFile reports whether a panic that was just recovered is a fault of the memory
// mapping, or was raised by Bolt.
func ofFile(p any) bool {
	if _, fault := p.(interface{ Addr() uintptr }); fault {
		return true
	}

	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs[:])])
	raised := false // the frames of the panic itself are behind us
	for {
		frame, more := frames.Next()
		inRuntime := strings.HasPrefix(frame.Function, "runtime.")
		if raised && !inRuntime {
			return strings.HasPrefix(frame.Function, "go.etcd.io/bbolt")
		}

		raised = raised || frame.Function == "runtime.gopanic"
		if !more {
			return false
		}
	}
}
