package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"

	"fhirdest.example/fhir"
	"fhirdest.example/server/oauth"
)

// failure is a database that could not be read or written. It is an
// fhir.ErrUnavailable, and an oauth.ErrUnknown when the outcome of a commit is not
// known.
type failure struct {
	err     error
	unknown bool
}

func (e *failure) Error() string {
	if e.unknown {
		return fmt.Sprintf("database: commit: %v", e.err)
	}
	return fmt.Sprintf("database: %v", e.err)
}

func (e *failure) Unwrap() error { return e.err }

// Is makes the error known to callers that do not know this package.
func (e *failure) Is(target error) bool {
	return target == fhir.ErrUnavailable || e.unknown && target == oauth.ErrUnknown
}

// storeError makes a *failure of an error that means trouble with the server or the
// way to it; others are returned as they are.
func storeError(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if isOurs(err) {
		return err
	}
	return &failure{err: err}
}

// isOurs reports whether an error did not come from the driver.
func isOurs(err error) bool {
	var answered *pgconn.PgError
	var connecting *pgconn.ConnectError
	return !errors.As(err, &answered) && !errors.As(err, &connecting) && !pgconn.SafeToRetry(err) &&
		!pgconn.Timeout(err) && !isLost(err)
}

// isLost reports whether an error is that a connection was lost.
func isLost(err error) bool {
	text := err.Error()
	for _, sign := range []string{"unexpected EOF", "conn closed", "closed pool", "connection reset", "broken pipe"} {
		if strings.Contains(text, sign) {
			return true
		}
	}
	return false
}

// commitFailed is the error for a commit that the server refused, or whose answer
// was lost: then nobody knows whether it took effect.
func commitFailed(err error) error {
	var answered *pgconn.PgError
	return &failure{
		err:     err,
		unknown: !errors.As(err, &answered),
	}
}

// failed is the error of a statement that ought to have succeeded, or of its rows.
func failed(err error) error {
	var known *failure
	var bad *damagedRows
	if err == nil || errors.As(err, &known) || errors.As(err, &bad) {
		return err
	}
	return &failure{err: err}
}

// refused reports whether the server has answered that it did not do a statement, and
// that the session goes on: so what comes after it was not done either. The end of a
// session, which is FATAL, may come after a commit.
func refused(err error) bool {
	var answered *pgconn.PgError
	return errors.As(err, &answered) && answered.SeverityUnlocalized == "ERROR"
}

// interrupted reports whether an exchange with the server failed because the connection
// was lost: another may be had.
func interrupted(err error) bool {
	var connecting *pgconn.ConnectError
	if err == nil || errors.As(err, &connecting) {
		return false // there is none to be had now, and those that work must not be closed
	}

	var answered *pgconn.PgError
	if errors.As(err, &answered) {
		return !refused(err)
	}
	return !pgconn.Timeout(err) && (pgconn.SafeToRetry(err) || isLost(err))
}

// again does something that may be done again when the connection was lost: after
// PostgreSQL was started again, a pool has connections that have ended.
func (d *database) again(f func() error) error {
	err := f()
	for n := 0; n < 2 && interrupted(err); n++ {
		d.pool.Reset()
		err = f()
	}
	return failed(err)
}

// conflicts reports whether a transaction failed because of another one, and may be
// run again.
func conflicts(err error) bool {
	var answered *pgconn.PgError
	if !errors.As(err, &answered) {
		return false
	}

	switch answered.Code {
	case "40001", "40P01": // serialization_failure, deadlock_detected
		return true
	}
	return false
}

// health gathers what an operator must know of the database.
type health struct {
	mu      sync.Mutex // guards the fields below
	failed  error      // of the last transaction
	count   int64      // of those that failed
	damaged []string   // rows, in the order found
}

// read notes how reading ended, and returns it.
func (h *health) read(err error) error {
	if f := (*failure)(nil); err == nil || errors.As(err, &f) {
		return h.commit(err)
	}
	return err
}

// commit notes how the last transaction ended, and returns it.
func (h *health) commit(err error) error {
	f := (*failure)(nil)
	if err != nil && !errors.As(err, &f) {
		return err
	}

	h.mu.Lock()
	defer h.mu.Unlock()
	h.failed = err
	if err != nil {
		h.count++
	}
	return err
}

// failures returns how often the database could not be used.
func (h *health) failures() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.count
}

// alarms are sentences for the operator; none when all is well.
func (h *health) alarms() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := slices.Clone(h.damaged)
	if h.failed != nil {
		all = append(all, h.failed.Error())
	}
	return all
}

// damagedRows is the error for rows that cannot be what this package wrote.
type damagedRows struct{ text string }

func (e *damagedRows) Error() string { return e.text }

// Is makes the error known to callers that do not know this package.
func (e *damagedRows) Is(target error) bool {
	return target == fhir.ErrDamaged || target == oauth.ErrDamaged
}

// damaged is the error for rows of a table that cannot be what this package wrote. It
// is an fhir.ErrDamaged and an oauth.ErrDamaged.
func damaged(table, format string, args ...any) error {
	return &damagedRows{fmt.Sprintf("database: table %s is damaged: "+format, append([]any{table}, args...)...)}
}

// maxAlarms bounds how many damaged rows are listed.
const maxAlarms = 20

// found notes a damaged row, and returns it.
func (h *health) found(err error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if text := err.Error(); len(h.damaged) < maxAlarms && !slices.Contains(h.damaged, text) {
		h.damaged = append(h.damaged, text)
	}
	return err
}
