package bolt

import (
	"context"
	"errors"
	"sync"

	"go.etcd.io/bbolt"

	"fhirdest.example/fhir"
)

// FHIR is fhir.bolt: resources, their versions and their index. It implements
// fhir.Store.
//
// Layout: "docs" has a resource's number and its current version; "ids" has
// type NUL id and the number; "versions" has number and version, and what was
// current before; "index" has a term, NUL and number; "records" and "segments"
// have the audit records and their part of the index; "log" has a bucket per
// type of change number, and the resource and version that it made.
type FHIR struct {
	db *bbolt.DB

	jobs    chan *job
	stopped chan struct{}

	closing sync.RWMutex // held to send on jobs; closed guards against sending after Close
	closed  bool
}

var fhirSchema = Schema{
	Kind:    "fhir",
	Version: 4,
	Buckets: []string{"docs", "ids", "versions", "index", "segments", "records", "log", "settings"},
}

// maxShared bounds how many updates one commit may carry.
const maxShared = 256

// errFHIRClosed is returned once the file is closed.
var errFHIRClosed = errors.New("store: fhir.bolt is closed")

// OpenFHIR opens fhir.bolt, and makes it if there is none.
func OpenFHIR(path string, o Options) (*FHIR, error) {
	db, err := Open(path, fhirSchema, o)
	if err != nil {
		return nil, err
	}
	s := &FHIR{db: db, jobs: make(chan *job, maxShared), stopped: make(chan struct{})}
	go s.commitLoop()
	return s, nil
}

// Close commits what is under way and closes the file.
func (s *FHIR) Close() error {
	s.closing.Lock()
	if s.closed {
		s.closing.Unlock()
		return nil
	}
	s.closed = true
	close(s.jobs)
	s.closing.Unlock()
	<-s.stopped
	return s.db.Close()
}

// View implements fhir.Store.
func (s *FHIR) View(ctx context.Context, f func(fhir.Snapshot) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.db.View(func(tx *bbolt.Tx) error { return f(newState(tx)) })
}

// Update implements fhir.Store.
func (s *FHIR) Update(ctx context.Context, f func(fhir.Change) error) error {
	j := &job{f: f, done: make(chan error, 1)}
	if err := s.send(ctx, j); err != nil {
		return err
	}
	return <-j.done // what was begun is finished: a caller never leaves without knowing
}

func (s *FHIR) send(ctx context.Context, j *job) error {
	s.closing.RLock()
	defer s.closing.RUnlock()
	if s.closed {
		return errFHIRClosed
	}

	select {
	case s.jobs <- j:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
