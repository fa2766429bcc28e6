package async

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"fhirdest.example/fhir"
)

// Names of files that are not served.
const (
	requestFile = "request"
	resultFile  = "result"
)

// Work is a job that is being done.
type Work struct {
	Job
	m         *Manager
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
func (w *Work) prepare() error {
	body, err := w.m.root.ReadFile(w.path(requestFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}

	if size := int64(len(body)); size != w.Bytes {
		return fhir.Refuse(500, "incomplete", "The server has lost the body of the request: send it again.", "")
	}

	w.Asked.Body = body
	w.bytes.Store(int64(len(body)))
	dir, err := w.m.root.Open(w.ID)
	if errors.Is(err, fs.ErrNotExist) {
		return w.m.root.Mkdir(w.ID, 0o700)
	}
	if err != nil {
		return err
	}

	names, err := dir.Readdirnames(-1)
	err = errors.Join(err, dir.Close())
	for _, name := range names {
		if name != requestFile && err == nil {
			err = w.m.root.Remove(w.path(name))
		}
	}

	return err
}

func (w *Work) path(name string) string { return w.ID + "/" + name }

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
	return w.m.Store.Update(ctx, w.ID, func(j *Job) error {
		j.Reached, j.Fruitless = n, 0
		return nil
	})
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
	file *os.File
	buf  *bufio.Writer
	kind string
}

// Create makes a file that the client may download once the job is done.
func (w *Work) Create(name, contentType string) (*Writer, error) {
	f, err := w.m.root.OpenFile(w.path(name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
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
	return a.file.Write(p)
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
	err := errors.Join(f.buf.Flush(), f.file.Sync(), f.file.Close())
	if err != nil {
		return err
	}

	f.work.mu.Lock()
	f.work.made = append(f.work.made, Made{f.Name, f.kind, f.Count})
	f.work.mu.Unlock()
	return nil
}

// Abandon closes a file of work that failed.
func (f *Writer) Abandon() { _ = f.file.Close() }

// Finish stores the result. contentType is "" for FHIR JSON.
func (w *Work) Finish(contentType string, body []byte) error {
	if err := w.account(int64(len(body))); err != nil {
		return err
	}
	w.contentType = contentType
	return w.m.write(w.path(resultFile), body)
}

// write puts a whole file on disk.
func (m *Manager) write(path string, body []byte) error {
	f, err := m.root.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = bytes.NewReader(body).WriteTo(f)
	return errors.Join(err, f.Sync(), f.Close())
}

// removeOrphans removes directories of jobs that are not known.
func (m *Manager) removeOrphans(known map[string]bool) error {
	dir, err := m.root.Open(".")
	if err != nil {
		return err
	}

	names, err := dir.Readdirnames(-1)
	err = errors.Join(err, dir.Close())
	for _, name := range names {
		if !known[name] && err == nil {
			err = m.root.RemoveAll(name)
		}
	}

	return err
}
