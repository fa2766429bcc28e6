package bolt

import (
	"go.etcd.io/bbolt"

	"fhirdest.example/server/shared"
)

// batch is a transaction of a file while it is being filled.
type batch interface {
	shared.Batch
	// transaction returns the transaction itself.
	transaction() *bbolt.Tx
	// settle writes what was put off to the end of the transaction.
	settle() error
	// committed is called after the commit, before any caller is answered.
	committed()
}

// newCommitter returns what puts the work of all callers that wait into one
// transaction of a file. An error of its Do that is a *commitError is of the commit.
func newCommitter[B batch](
	db *bbolt.DB, o Options, h *health, begin func(*bbolt.Tx) B,
) *shared.Committer[B] {
	file := db.Path() // a closed file has none any more
	finish := o.commit
	if finish == nil {
		finish = (*bbolt.Tx).Commit
	}

	return shared.New(shared.Engine[B]{
		Begin: func() (b B, err error) {
			tx, err := db.Begin(true)
			if err != nil {
				return b, h.commit(&commitError{
					file: file,
					err:  err,
				})
			}
			return begin(tx), nil
		},
		Settle: B.settle,
		Commit: func(b B) error {
			if err := h.guard(file, func() error { return finish(b.transaction()) }); err != nil {
				return h.commit(&commitError{
					file:    file,
					err:     err,
					unknown: true,
				})
			}

			_ = h.commit(nil)
			b.committed()
			return nil
		},
		Rollback:  func(b B) { _ = b.transaction().Rollback() }, // no effect after a commit
		Recovered: func(value any) *shared.Panicked { return h.recovered(file, value) },
		Most:      o.MaxBatch,
		Closed: &commitError{
			file: file,
			err:  errClosed,
		},
	})
}
