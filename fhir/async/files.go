package async

import (
	"context"
	"io"
)

// Files keeps what jobs are made of and make: the bodies of requests, the files that
// clients download, and results. Where destinations share the jobs they share the
// files, so that each can serve all of them. FilesTest of package asynctest is what
// every implementation must pass.
type Files interface {
	// Recover counts the files of the jobs that the store has after a start, and
	// removes those of others and of jobs that have failed.
	Recover(ctx context.Context, jobs []Job) error
	// Keep stores the body of a request that becomes a job. It is durable when the
	// job is. ErrNoRoom or ErrNoShare when there is no room for it.
	Keep(ctx context.Context, job, client string, body []byte, room Room) error
	// Begin removes the files of earlier attempts, and returns the body of the
	// request: nil if it has none.
	Begin(ctx context.Context, a Attempt) (body []byte, err error)
	// Create makes a file of an attempt, which may not have it yet. What is written
	// counts at once. It is written until ctx ends.
	Create(ctx context.Context, a Attempt, name string, room Room) (File, error)
	// Open opens a file of the attempt that finished a job; fs.ErrNotExist when
	// there is none.
	Open(ctx context.Context, a Attempt, name string) (io.ReadSeekCloser, error)
	// Remove removes all files of a job, and frees their room. It is no error if
	// there are none.
	Remove(ctx context.Context, job string) error
	// Sweep removes files that belong to no job, such as those of a destination
	// that died before it had stored the job. It is called every few minutes.
	Sweep(ctx context.Context) error
	Close() error
}

// File is a file that is written. Several files of a job may be written and closed at
// once.
type File interface {
	// Write returns ErrNoRoom or ErrNoShare when there is no room, ErrTaken when
	// there was a later attempt, and ErrNoJob when the job was removed.
	io.Writer
	// Close returns when the file is durable, or will be as soon as a later change
	// of its job is.
	Close() error
	// Abandon closes a file of work that failed.
	Abandon()
}
