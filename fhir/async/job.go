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

	// Progress is what Renew stored last.
	Progress string `json:"-"`

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

// Attempt names an attempt to do a job. What an attempt changes is refused with
// ErrTaken once there is a later one.
type Attempt struct {
	Job    string
	Client string
	Number int // the job's Attempts when it was begun, from 1
}

// attempt returns the latest attempt at a job.
func (j *Job) attempt() Attempt {
	return Attempt{
		Job:    j.ID,
		Client: j.Asked.Grant.Client,
		Number: j.Attempts,
	}
}

// Begin notes that the job is begun once more. Stores call it in Claim.
func (j *Job) Begin() {
	j.State = Running
	j.Attempts++
	j.Fruitless++
}

// Room bounds what a store of jobs and their files hold, those of all destinations
// together.
type Room struct {
	All       int // jobs, ended ones included
	PerClient int // jobs of one client, ended ones included
	Active    int // jobs of one client that have not ended

	Disk  int64 // bytes of all files
	Share int64 // bytes of one client's files
}

// Full returns the error for files of that many bytes, those of one client among
// them; nil when they have room.
func (r Room) Full(all, client int64) error {
	switch {
	case all > r.Disk:
		return ErrNoRoom
	case client > r.Share:
		return ErrNoShare
	}
	return nil
}

// Store keeps jobs, for one destination or for several that share it. Package
// asynctest has the test that every implementation must pass. A change is on disk
// when the method that makes it returns nil; a context that ends stops a change only
// before it is begun.
type Store interface {
	// Create stores a new job. It returns ErrFull when there is no room for it,
	// and ErrClientFull when there is none for its client: counting and storing
	// are one transaction. A store that keeps the files, too, counts their bytes
	// in it, and returns ErrNoRoom or ErrNoShare.
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

	// Claim begins an attempt at the oldest job that is pending, or is running with
	// a lease that has ended, and is of none of the clients in busy. It calls the
	// job's Begin. No two claims return the same attempt. The lease is measured by
	// one clock for all destinations, and lost when a store of one destination is
	// closed. ErrNoJob when there is nothing to do.
	Claim(ctx context.Context, lease time.Duration, busy []string) (Job, error)
	// Renew begins the lease of an attempt anew, and stores how far it is, for
	// whoever asks another destination. It succeeds after the lease has ended, if
	// nobody has claimed the job since. ErrNoJob when the job was removed,
	// ErrTaken when there was a later attempt or the job has ended.
	Renew(ctx context.Context, a Attempt, lease time.Duration, progress string) error
	// Over returns the jobs that expire at or before a time.
	Over(ctx context.Context, at time.Time) (ids []string, err error)
	Close() error
}

// The errors of a Store, or of Files, that are no trouble of their own.
var (
	ErrNoJob      = errors.New("there is no such job")
	ErrFull       = errors.New("there are too many jobs")
	ErrClientFull = errors.New("the client has too many jobs")
	ErrTaken      = errors.New("there was a later attempt at the job")
	ErrNoRoom     = errors.New("the files of jobs use all the room that there is for them")
	ErrNoShare    = errors.New("the files of this client's jobs use all its share of the room")
)
