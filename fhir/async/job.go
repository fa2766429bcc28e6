package async

import (
	"context"
	"errors"
	"time"

	"fhirdest.example/fhir"
)

// State is where a job is in its life.
type State string

// The states. A cancelled or expired job has none: it is removed.
const (
	Pending State = "pending"
	Running State = "running"
	Done    State = "done"
	Failed  State = "failed"
)

// Job is one request that is done in the background.
type Job struct {
	ID       string     `json:"id"` // 32 hexadecimal digits that nobody can guess
	Asked    fhir.Asked `json:"asked"`
	State    State      `json:"state"`
	Created  time.Time  `json:"created"`
	Attempts int        `json:"attempts"` // how often it was begun
	Bytes    int64      `json:"bytes"`    // of its files on disk; of one that has not ended, of the request's body

	// Stopped is how many attempts ended because the server was stopped in order,
	// Reached is how far the furthest attempt was, in the work's own measure, and
	// Fruitless is how many attempts since have been no further.
	Stopped   int   `json:"stopped,omitzero"`
	Reached   int64 `json:"reached,omitzero"`
	Fruitless int   `json:"fruitless,omitzero"`

	// What follows is of a job that has ended.

	Ended       time.Time `json:"ended,omitzero"`
	Expires     time.Time `json:"expires,omitzero"`     // when it is removed
	ContentType string    `json:"contentType,omitzero"` // of the result; "" for FHIR JSON
	Files       []Made    `json:"files,omitempty"`
	Failure     *Failure  `json:"failure,omitzero"`
}

// Made is a file that a job has made.
type Made struct {
	Name        string `json:"name"`
	ContentType string `json:"contentType"`
	Count       int64  `json:"count"` // lines
}

// Failure is why a job failed, as the answer to who asks for its status.
type Failure struct {
	Status int    `json:"status"`
	Code   string `json:"code"` // of the value set issue-type
	Text   string `json:"text"`
}

// Room bounds the jobs that a store holds.
type Room struct {
	All       int // jobs, ended ones included
	PerClient int // jobs of one client, ended ones included
	Active    int // jobs of one client that have not ended
}

// Store keeps jobs. Package asynctest has the test that every implementation must
// pass. A change is on disk when the method that makes it returns nil; a context
// that ends stops a change only before it is begun.
type Store interface {
	// Create stores a new job. It returns ErrFull when there is no room for it,
	// and ErrClientFull when there is none for its client: counting and storing
	// are one transaction.
	Create(ctx context.Context, j Job, room Room) error
	// Job returns the job with an id; ErrNoJob when there is none.
	Job(ctx context.Context, id string) (Job, error)
	// Jobs calls f with all jobs, the oldest first, until f returns false.
	Jobs(ctx context.Context, f func(Job) bool) error
	// Update changes a job in one transaction: change gets the stored one, and
	// what it leaves is stored if it returns nil. It may be called again.
	// ErrNoJob when there is none.
	Update(ctx context.Context, id string, change func(*Job) error) error
	// Remove removes a job; ErrNoJob when there is none.
	Remove(ctx context.Context, id string) error
	Close() error
}

// The errors of a Store that are no trouble of its own.
var (
	ErrNoJob      = errors.New("there is no such job")
	ErrFull       = errors.New("there are too many jobs")
	ErrClientFull = errors.New("the client has too many jobs")
)
