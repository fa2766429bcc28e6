package async

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"
)

// Dir keeps the files of jobs in a directory of one destination. It implements Files.
// Each job has a directory of its own, whose files are those of the latest attempt.
type Dir struct {
	root *os.Root

	mu      sync.Mutex // guards all below
	used    int64
	jobs    map[string]holding // by id
	clients map[string]int64   // bytes by client
}

var _ Files = (*Dir)(nil)

// holding is what a job has on disk.
type holding struct {
	client string
	bytes  int64
}

// OpenDir opens a directory, and makes it when it is absent. Recover must be called
// first.
func OpenDir(path string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}

	return &Dir{
		root:    root,
		jobs:    map[string]holding{},
		clients: map[string]int64{},
	}, nil
}

// Close implements Files.
func (d *Dir) Close() error { return d.root.Close() }

// occupy counts bytes of a job's files.
func (d *Dir) occupy(job, client string, n int64, room Room) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.jobs[job]
	h.client = client
	h.bytes += n
	d.jobs[job] = h
	d.used += n
	d.clients[client] += n
	return room.Full(d.used, d.clients[client])
}

// free forgets what a job has on disk.
func (d *Dir) free(job string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.jobs[job]
	delete(d.jobs, job)
	d.used -= h.bytes
	if d.clients[h.client] -= h.bytes; d.clients[h.client] == 0 {
		delete(d.clients, h.client)
	}
}

// Recover implements Files.
func (d *Dir) Recover(_ context.Context, jobs []Job) error {
	known := map[string]bool{}
	for i := range jobs {
		j := &jobs[i]
		known[j.ID] = j.State != Failed
		_ = d.occupy(j.ID, j.Asked.Grant.Client, j.Bytes, Room{}) // what is there is there
	}

	names, err := d.list(".")
	for _, name := range names {
		if !known[name] && err == nil {
			err = d.root.RemoveAll(name)
		}
	}
	return err
}

// list returns the names in a directory.
func (d *Dir) list(path string) ([]string, error) {
	dir, err := d.root.Open(path)
	if err != nil {
		return nil, err
	}
	names, err := dir.Readdirnames(-1)
	return names, errors.Join(err, dir.Close())
}

// Keep implements Files.
func (d *Dir) Keep(_ context.Context, job, client string, body []byte, room Room) error {
	if err := d.occupy(job, client, int64(len(body)), room); err != nil || len(body) == 0 {
		return err
	}
	if err := d.root.Mkdir(job, 0o700); err != nil {
		return err
	}

	f, err := d.root.OpenFile(job+"/"+requestFile, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = bytes.NewReader(body).WriteTo(f)
	return errors.Join(err, f.Sync(), f.Close())
}

// Begin implements Files.
func (d *Dir) Begin(_ context.Context, a Attempt) ([]byte, error) {
	body, err := d.root.ReadFile(a.Job + "/" + requestFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}

	d.free(a.Job)
	_ = d.occupy(a.Job, a.Client, int64(len(body)), Room{}) // it was accepted
	names, err := d.list(a.Job)
	if errors.Is(err, fs.ErrNotExist) {
		return body, d.root.Mkdir(a.Job, 0o700)
	}

	for _, name := range names {
		if name != requestFile && err == nil {
			err = d.root.Remove(a.Job + "/" + name)
		}
	}
	return body, err
}

// Create implements Files.
func (d *Dir) Create(_ context.Context, a Attempt, name string, room Room) (File, error) {
	f, err := d.root.OpenFile(a.Job+"/"+name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &dirFile{
		dir:  d,
		of:   a,
		room: room,
		file: f,
	}, nil
}

// Open implements Files.
func (d *Dir) Open(_ context.Context, a Attempt, name string) (io.ReadSeekCloser, error) {
	f, err := d.root.Open(a.Job + "/" + name)
	if err != nil { // a nil *os.File is no nil interface
		return nil, err
	}
	return f, nil
}

// Remove implements Files.
func (d *Dir) Remove(_ context.Context, job string) error {
	d.free(job)
	return d.root.RemoveAll(job)
}

// Sweep implements Files: Recover has removed what there was.
func (*Dir) Sweep(context.Context) error { return nil }

// dirFile is a file of a Dir that is written.
type dirFile struct {
	dir  *Dir
	of   Attempt
	room Room
	file *os.File
}

func (f *dirFile) Write(p []byte) (int, error) {
	if err := f.dir.occupy(f.of.Job, f.of.Client, int64(len(p)), f.room); err != nil {
		return 0, err
	}
	return f.file.Write(p)
}

func (f *dirFile) Close() error {
	return errors.Join(f.file.Sync(), f.file.Close())
}

func (f *dirFile) Abandon() { _ = f.file.Close() }
