package lab

import (
	"context"

	"fhirdest.example/udap/conform"
)

// Store keeps sessions and their exchanges over restarts. Each method is one
// transaction, durable when it returns nil. Package labtest has the test that any
// implementation must pass. Its methods may be called at once from different
// goroutines.
type Store interface {
	// Create adds a session, unless there are room of them already: ErrFull.
	Create(ctx context.Context, s Session, room int) error
	// Sessions returns all sessions, the oldest first.
	Sessions(ctx context.Context) ([]Session, error)
	// Update replaces a stored session; ErrNoSession when there is none.
	Update(ctx context.Context, s Session) error
	// Remove removes a session with all that belongs to it. That of none is no error.
	Remove(ctx context.Context, id string) error

	// Append adds exchanges to a session under their numbers, and replaces the stored
	// session; ErrNoSession when there is none.
	Append(ctx context.Context, s Session, added []*conform.Exchange) error
	// Clear removes the exchanges of a session, and replaces the stored session.
	Clear(ctx context.Context, s Session) error
	// Exchanges returns at most n exchanges of a session from a number on, in order.
	Exchanges(ctx context.Context, id string, from uint64, n int) ([]*conform.Exchange, error)

	// PutReport keeps a report of a session, in place of an earlier one of that name.
	PutReport(ctx context.Context, id, name string, report []byte) error
	// Report returns a report that was kept; nil when there is none.
	Report(ctx context.Context, id, name string) ([]byte, error)

	// Health returns what an operator must know of the store, as sentences.
	Health() []string
	Close() error
}
