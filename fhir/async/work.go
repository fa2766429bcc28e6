package async

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"fhirdest.example/fhir"
)

// Names of files that are not served.
const (
	requestFile = "request"
	resultFile  = "result"
)

// Work is an attempt to do a job.
type Work struct {
	Job
	m         *Manager
	ctx       context.Context // ends with the attempt: its files are written until then
	cancel    context.CancelFunc
	cancelled atomic.Bool
	bytes     atomic.Int64 // written

	mu       sync.Mutex // guards progress and made
	progress string
	made     []Made

	checked     time.Time // when the client's registration was looked at last
	noted       time.Time // when it was stored last how far the work is
	contentType string
}

// Again reports whether the work was begun before, and the server stopped.
func (w *Work) Again() bool { return w.Attempts > 1 }

// prepare reads the request's body, and removes what an earlier attempt left.
func (w *Work) prepare(ctx context.Context) error {
	body, err := w.m.Files.Begin(ctx, w.attempt())
	if err != nil {
		return err
	}

	if size := int64(len(body)); size != w.Bytes {
		return fhir.Refuse(500, "incomplete", "The server has lost the body of the request: send it again.", "")
	}

	w.Asked.Body = body
	w.bytes.Store(int64(len(body)))
	return nil
}

// lose ends the work without a result: it was cancelled, or another destination does
// it.
func (w *Work) lose() {
	w.cancelled.Store(true)
	w.cancel()
}

// reported is how far the work is, in words.
func (w *Work) reported() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.progress
}

// URL is where a client downloads one of the job's files.
func (w *Work) URL(name string) string {
	return w.m.PublicBase + "/_jobs/" + w.ID + "/" + name
}

// Mark is the name under which work stores its place in the store of resources. It is
// removed when the work has ended.
func (w *Work) Mark() string { return markOf(w.ID) }

// Now is the time.
func (w *Work) Now() time.Time { return w.m.Now() }

// Progress notes how far the work is, in at most 100 characters.
func (w *Work) Progress(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.mu.Lock()
	w.progress = text[:min(len(text), 100)]
	w.mu.Unlock()
}

// notedEvery is how often it is stored how far a job is.
const notedEvery = 10 * time.Second

// Reached notes how far the work is in a measure of its own, which grows: an attempt
// that gets further than those before is not held against the job when the server
// stops during it.
func (w *Work) Reached(ctx context.Context, n int64) error {
	now := time.Now()
	if n <= w.Job.Reached || !w.noted.IsZero() && now.Sub(w.noted) < notedEvery {
		return nil
	}

	w.Job.Reached, w.noted = n, now
	return w.update(ctx, func(j *Job) {
		j.Reached, j.Fruitless = n, 0
	})
}

// update changes the job, unless there was a later attempt.
func (w *Work) update(ctx context.Context, change func(*Job)) error {
	return w.m.Store.Update(ctx, w.ID, func(j *Job) error {
		if j.Attempts != w.Attempts {
			return ErrTaken
		}
		change(j)
		return nil
	})
}

// Ours returns nil if no other destination has begun the job since, and the work may
// go on.
func (w *Work) Ours(ctx context.Context) error {
	return w.m.Store.Renew(ctx, w.attempt(), w.m.Limits.Lease, w.reported())
}

// aliveEvery is how often a job under way looks at its client's registration.
const aliveEvery = time.Second

// Alive returns an error when the work must end: its time is over, it is cancelled,
// or its client is registered no longer. Work calls it often.
func (w *Work) Alive(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}

	now := time.Now()
	if now.Sub(w.checked) < aliveEvery {
		return nil
	}

	w.checked = now
	live, err := w.m.Live(ctx, w.Asked.Grant)
	if err != nil {
		return err
	}
	if !live {
		return fhir.Refuse(403, "forbidden",
			"The token was revoked, or the client's registration or what a person granted has changed, "+
				"since the job was begun.",
			"")
	}

	return nil
}

// Writer writes one file of a job.
type Writer struct {
	Name  string
	Count int64 // lines written
	Size  int64

	work *Work
	file File
	buf  *bufio.Writer
	kind string
}

// Create makes a file that the client may download once the job is done.
func (w *Work) Create(name, contentType string) (*Writer, error) {
	f, err := w.m.Files.Create(w.ctx, w.attempt(), name, w.m.Limits.Room)
	if err != nil {
		return nil, err
	}

	out := &Writer{
		Name: name,
		work: w,
		file: f,
		kind: contentType,
	}
	out.buf = bufio.NewWriterSize(accounted{out}, 64<<10)

	return out, nil
}

// accounted writes to a file within the job's bounds.
type accounted struct{ *Writer }

func (a accounted) Write(p []byte) (int, error) {
	if err := a.work.account(int64(len(p))); err != nil {
		return 0, err
	}
	n, err := a.file.Write(p)
	return n, noRoom(err)
}

// account counts bytes that are written, and refuses those that are too many for one
// job.
func (w *Work) account(n int64) error {
	if w.bytes.Add(n) > w.m.Limits.Job {
		return fhir.Refuse(413, "too-costly",
			"The job would make more files than one may: ask for less.", "")
	}
	return nil
}

// noRoom makes the error for files that have no room the client's answer.
func noRoom(err error) error {
	if errors.Is(err, ErrNoRoom) || errors.Is(err, ErrNoShare) {
		return fhir.RefuseLater(413, "too-costly",
			"There is no room: "+err.Error()+". Remove what you do not need, or try later.", 60)
	}
	return err
}

// Line writes one line.
func (f *Writer) Line(body []byte) error {
	f.Count++
	f.Size += int64(len(body)) + 1
	if _, err := f.buf.Write(body); err != nil {
		return err
	}
	return f.buf.WriteByte('\n')
}

// Close puts the file on disk and has it served with the job's result. Several files
// of a job may be closed at once.
func (f *Writer) Close() error {
	err := errors.Join(f.buf.Flush(), f.file.Close())
	if err != nil {
		return noRoom(err)
	}

	f.work.mu.Lock()
	f.work.made = append(f.work.made, Made{f.Name, f.kind, f.Count})
	f.work.mu.Unlock()
	return nil
}

// Abandon closes a file of work that failed.
func (f *Writer) Abandon() { f.file.Abandon() }

// Finish stores the result. contentType is "" for FHIR JSON.
func (w *Work) Finish(contentType string, body []byte) error {
	if err := w.account(int64(len(body))); err != nil {
		return err
	}

	w.contentType = contentType
	f, err := w.m.Files.Create(w.ctx, w.attempt(), resultFile, w.m.Limits.Room)
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	return noRoom(errors.Join(err, f.Close()))
}

// unwritable makes fhir.ErrUnavailable the cause of an error when it is that the disk
// is full.
func unwritable(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", fhir.ErrUnavailable, err)
	}
	return err
}
