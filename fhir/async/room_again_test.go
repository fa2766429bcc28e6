package async_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/async"
	"fhirdest.example/fhir/async/asyncenv"
)

// What a job has written until it failed is removed at once: nobody can download
// it, and it must not keep others from being done.
//
// Covers: ER-18
func TestFailedJobFreesItsRoom(t *testing.T) {
	e := asyncenv.New(t, func(e *asyncenv.Env) {
		e.Kinds = exports(lines{})
		e.Limits.Disk, e.Limits.Share = 1<<20, 1<<20
	})

	at := e.Begin("GET", "/$export", asyncenv.All, "")
	if w := e.Wait(at, asyncenv.All); w.Code != 413 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	e.Empty()

	const other = asyncenv.All + "; client=c2"
	next := e.Begin("GET", "/Patient", other, "")
	if w := e.Wait(next, other); w.Code != 200 {
		t.Errorf("another client's: %d %s", w.Code, w.Body)
	}
	if w := e.Do("GET", at, asyncenv.All, ""); w.Code != 413 {
		t.Errorf("why it failed is forgotten: %d %s", w.Code, w.Body)
	}
}

// Files of a job that failed are removed at the next start when the server was
// stopped before it had removed them.
func TestFilesOfFailedJobAreRemovedAtStart(t *testing.T) {
	e := asyncenv.New(t, func(e *asyncenv.Env) {
		e.Kinds = exports(lines{})
		e.Limits.Job = 1 << 20
	})
	at := e.Begin("GET", "/$export", asyncenv.All, "")
	e.Wait(at, asyncenv.All)
	e.Empty()
	e.Close()

	left := filepath.Join(e.Dir, "jobs", at[strings.LastIndexByte(at, '/')+1:])
	e.Must(os.Mkdir(left, 0o700))
	e.Must(os.WriteFile(filepath.Join(left, "1.ndjson"), []byte("x"), 0o600))

	e.Open()
	e.Empty()
	if w := e.Do("GET", at, asyncenv.All, ""); w.Code != 413 {
		t.Errorf("why it failed is forgotten: %d %s", w.Code, w.Body)
	}
}

// half is work that fills most of the room, and ends when it may.
type half struct{ may chan bool }

func (half) Check(context.Context, *fhir.Asked) error { return nil }

func (h half) Do(_ context.Context, w *async.Work) error {
	f, err := w.Create("1.ndjson", "application/fhir+ndjson")
	if err != nil {
		return err
	}
	for range 700 {
		if err := f.Line([]byte(strings.Repeat("x", 1000))); err != nil {
			return err
		}
	}

	if err := f.Close(); err != nil {
		return err
	}
	<-h.may
	return w.Finish("", []byte(`{}`))
}

// overtaken is a store in which a job ends while it is being removed.
type overtaken struct {
	async.Store
	end func()
}

func (s overtaken) Remove(ctx context.Context, id string) error {
	s.end()
	for {
		job, err := s.Job(ctx, id)
		if err != nil {
			return err
		}
		if job.State == async.Done {
			return s.Store.Remove(ctx, id)
		}
		time.Sleep(time.Millisecond)
	}
}

// A job that ends while it is being cancelled frees what it has on disk, too.
//
// Covers: ER-18
func TestCancelledAtTheEndFreesItsRoom(t *testing.T) {
	may := make(chan bool)
	e := asyncenv.New(t, func(e *asyncenv.Env) {
		e.Kinds = exports(half{may})
		e.Limits.Disk, e.Limits.Share = 1<<20, 1<<20
		e.Broken = func(s async.Store) async.Store {
			return overtaken{
				Store: s,
				end:   sync.OnceFunc(func() { close(may) }),
			}
		}
	})

	at := e.Begin("GET", "/$export", asyncenv.All, "")
	if w := e.Do("DELETE", at, asyncenv.All, ""); w.Code != 202 {
		t.Fatalf("cancelled: %d %s", w.Code, w.Body)
	}
	e.Empty()

	for range 3 {
		at := e.Begin("GET", "/$export", asyncenv.All, "")
		if w := e.Wait(at, asyncenv.All); w.Code != 200 {
			t.Fatalf("the next: %d %s", w.Code, w.Body)
		}
		if w := e.Do("DELETE", at, asyncenv.All, ""); w.Code != 202 {
			t.Fatalf("the next, cancelled: %d %s", w.Code, w.Body)
		}
	}
}

// full is work whose disk is full.
type full struct{}

func (full) Check(context.Context, *fhir.Asked) error { return nil }

func (full) Do(_ context.Context, w *async.Work) error {
	f, err := w.Create("1.ndjson", "application/fhir+ndjson")
	if err != nil {
		return err
	}
	defer f.Abandon()
	return &os.PathError{
		Op:   "write",
		Path: f.Name,
		Err:  syscall.ENOSPC,
	}
}

// A job fails as one that may be tried again when the disk is full, and leaves nothing
// there.
func TestDiskIsFull(t *testing.T) {
	e := asyncenv.New(t, func(e *asyncenv.Env) { e.Kinds = exports(full{}) })
	at := e.Begin("GET", "/$export", asyncenv.All, "")
	w := e.Wait(at, asyncenv.All)
	if w.Code != 503 || !strings.Contains(w.Body.String(), "transient") || strings.Contains(w.Body.String(), "ndjson") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	e.Empty()
}
