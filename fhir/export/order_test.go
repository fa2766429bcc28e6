package export_test

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/async"
	"fhirdest.example/fhir/async/asyncenv"
	"fhirdest.example/fhir/export"
)

// batches is a store of which a test decides what the transactions in which an export
// goes through all resources do.
type batches struct {
	fhir.Store
	n     atomic.Int64 // how many there were
	ended func(ctx context.Context, n int64) error
}

func (s *batches) View(ctx context.Context, f func(fhir.Snapshot) error) error {
	var n int64
	err := s.Store.View(ctx, func(sn fhir.Snapshot) error {
		in := &walked{Snapshot: sn}
		err := f(in)
		if in.each {
			n = s.n.Add(1)
		}
		return err
	})
	if n == 0 || err != nil {
		return err
	}
	return s.ended(ctx, n)
}

// walked notes that something goes through all resources.
type walked struct {
	fhir.Snapshot
	each bool
}

func (w *walked) Each(ctx context.Context, after uint64, f func(fhir.Entry) bool) error {
	w.each = true
	return w.Snapshot.Each(ctx, after, f)
}

// newBatches starts a service whose exports have two goroutines, on every machine.
func newBatches(t *testing.T, ended func(ctx context.Context, n int64) error) (*asyncenv.Env, *batches) {
	t.Helper()
	procs := runtime.GOMAXPROCS(4)
	t.Cleanup(func() { runtime.GOMAXPROCS(procs) })

	s := &batches{ended: ended}
	return asyncenv.New(t, func(e *asyncenv.Env) {
		e.Kinds = func(e *asyncenv.Env) map[string]async.Kind {
			s.Store = e.Store
			return map[string]async.Kind{"$export": export.New(export.Config{
				PublicBase: asyncenv.Base,
				Store:      s,
				Service:    e.Service,
			})}
		}
	}), s
}

// A batch that is ready before the one in front of it waits: files have the resources in
// the order in which they were made.
func TestFilesAreInOrder(t *testing.T) {
	const n = 4500
	second := make(chan struct{})
	e, s := newBatches(t, func(ctx context.Context, n int64) error {
		switch n {
		case 1:
			select {
			case <-second:
			case <-ctx.Done():
				return ctx.Err()
			}
		case 2:
			close(second)
		}
		return nil
	})
	for from := 0; from < n; from += 1500 {
		many(t, e, from, from+1500, "")
	}

	m := exported(t, e, "GET", "/$export?_type=Patient", asyncenv.All, "")
	lines := download(t, e, m.Output[0], asyncenv.All)
	if len(lines) != n || s.n.Load() < 5 {
		t.Fatalf("%d lines of %d batches", len(lines), s.n.Load())
	}
	if !slices.IsSortedFunc(lines, func(a, b string) int {
		return strings.Compare(identity(t, a), identity(t, b))
	}) {
		t.Error("the lines are not in order")
	}
}

// A batch that fails, whichever it is, fails the job: nothing of it is served, and the
// next export is whole.
func TestBatchThatFails(t *testing.T) {
	const n = 4500
	var failing atomic.Int64
	var panics atomic.Bool
	e, s := newBatches(t, func(_ context.Context, n int64) error {
		switch {
		case n != failing.Load():
			return nil
		case panics.Load():
			panic("as asked for")
		}
		return errors.New("the disk is gone")
	})
	for from := 0; from < n; from += 1500 {
		many(t, e, from, from+1500, "")
	}

	for _, how := range []bool{false, true} {
		for _, batch := range []int64{1, 2, 3, 5} {
			panics.Store(how)
			failing.Store(batch)
			s.n.Store(0)

			at := e.Begin("GET", "/$export?_type=Patient", asyncenv.All, "")
			if w := e.Wait(at, asyncenv.All); w.Code != http.StatusInternalServerError {
				t.Errorf("batch %d: %d %s", batch, w.Code, w.Body)
			}
			if w := e.Do("GET", at+"/Patient.1.ndjson", asyncenv.All, ""); w.Code != http.StatusNotFound {
				t.Errorf("batch %d: its file: %d", batch, w.Code)
			}
		}
	}

	failing.Store(0)
	if m := exported(t, e, "GET", "/$export?_type=Patient", asyncenv.All, ""); len(m.lines) != n {
		t.Errorf("%d lines", len(m.lines))
	}
}

// Exports at the same time, of which one has two goroutines, are each whole; and one that
// is cancelled meanwhile leaves the others alone.
func TestExportsAtTheSameTime(t *testing.T) {
	const n = 4500
	const together = 3 // two goroutines of one export, and one of another
	var begun sync.WaitGroup
	begun.Add(together)
	var arrived atomic.Int64
	e, _ := newBatches(t, func(context.Context, int64) error {
		if arrived.Add(1) <= together {
			begun.Done()
		}
		begun.Wait()
		return nil
	})
	for from := 0; from < n; from += 1500 {
		many(t, e, from, from+1500, "")
	}

	jobs := map[string]string{}
	for _, client := range []string{"c1", "c2", "c3"} {
		token := asyncenv.All + "; client=" + client
		jobs[token] = e.Begin("GET", "/$export?_type=Patient", token, "")
	}
	begun.Wait()
	cancelled := asyncenv.All + "; client=c2"
	if w := e.Do("DELETE", jobs[cancelled], cancelled, ""); w.Code != http.StatusAccepted {
		t.Errorf("cancelled: %d", w.Code)
	}
	delete(jobs, cancelled)

	for token, at := range jobs {
		w := e.Wait(at, token)
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"count":4500`) {
			t.Errorf("%s: %d %s", token, w.Code, w.Body)
		}
	}
}
