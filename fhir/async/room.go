package async

import (
	"errors"
	"fmt"
	"sync"
	"syscall"

	"fhirdest.example/fhir"
)

// disk counts the bytes of all jobs' files, and holds them within their bounds.
type disk struct {
	limits Limits

	mu      sync.Mutex // guards all below
	used    int64
	jobs    map[string]holding // by id
	clients map[string]int64   // bytes by client
}

// holding is what a job has on disk.
type holding struct {
	client string
	bytes  int64
}

func newDisk(l Limits) *disk {
	return &disk{
		limits:  l,
		jobs:    map[string]holding{},
		clients: map[string]int64{},
	}
}

// occupy counts bytes of a job's files, and returns which bound they break; "" when
// they break none.
func (d *disk) occupy(id, client string, n int64) (full string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.jobs[id]
	h.client = client
	h.bytes += n
	d.jobs[id] = h
	d.used += n
	d.clients[client] += n

	switch {
	case d.used > d.limits.Disk:
		return "the files of jobs use all the room that there is for them"
	case d.clients[client] > d.limits.Share:
		return "the files of this client's jobs use all its share of the room"
	}
	return ""
}

// free forgets what a job has on disk.
func (d *disk) free(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.jobs[id]
	delete(d.jobs, id)
	d.used -= h.bytes
	if d.clients[h.client] -= h.bytes; d.clients[h.client] == 0 {
		delete(d.clients, h.client)
	}
}

// account counts bytes that are written, and refuses those for which there is no
// room.
func (w *Work) account(n int64) error {
	full := w.m.disk.occupy(w.ID, w.Asked.Grant.Client, n)
	if w.bytes.Add(n) > w.m.Limits.Job {
		return fhir.Refuse(413, "too-costly",
			"The job would make more files than one may: ask for less.", "")
	}
	if full != "" {
		return fhir.RefuseLater(413, "too-costly",
			"There is no room: "+full+". Remove what you do not need, or try later.", 60)
	}
	return nil
}

// removeFiles removes the directory of a job, and frees what it counts on disk. The
// job may be removed by its worker and by its client at once.
func (m *Manager) removeFiles(id string) {
	m.disk.free(id)
	if err := m.root.RemoveAll(id); err != nil {
		m.Failed(err)
	}
}

// unwritable makes fhir.ErrUnavailable the cause of an error when it is that the disk
// is full.
func unwritable(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", fhir.ErrUnavailable, err)
	}
	return err
}
