package postgres

import (
	"context"
	"sync"

	"github.com/jackc/pgx/v5"
)

// origin is where something was read. After another server took over, or a database was
// put back, numbers may rise once more from earlier ones, with other changes.
type origin struct {
	started int64  // when the server was, in microseconds
	table   uint32 // one of the schema
}

// arrivals examines each new connection of a store before it is used. A server that
// accepts no writes is none for a destination, and its sessions must not be kept: they
// would remain so when it accepts them again.
type arrivals struct {
	schema    string
	onlyReads bool // connections that accept no writes are good enough

	mu     sync.Mutex // guards the fields below
	origin origin     // of the latest connection
	moved  func()     // called when that changes; may be nil
}

// startedAt is the time at which the server was started.
const startedAt = "(extract(epoch from pg_postmaster_start_time()) * 1000000)::bigint"

// examine returns an error for a connection that must not be used.
func (a *arrivals) examine(ctx context.Context, conn *pgx.Conn) error {
	var now origin
	var readOnly bool
	err := conn.QueryRow(
		ctx,
		"select "+startedAt+", coalesce(to_regclass($1)::oid, 0), "+isReadOnly,
		pgx.QueryExecModeExec, // one round trip
		a.schema+".version",
	).Scan(&now.started, &now.table, &readOnly)
	if err != nil {
		return failed(err)
	}
	if readOnly && !a.onlyReads {
		return errReadOnly
	}

	a.mu.Lock()
	defer a.mu.Unlock()
	if now != a.origin && a.moved != nil {
		a.moved()
	}
	a.origin = now
	return nil
}

// onMove has f called when connections lead to another server or database, before the
// first of them is used.
func (a *arrivals) onMove(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.moved = f
}

const isReadOnly = "current_setting('transaction_read_only') = 'on'"

var errReadOnly error = &failure{
	err: hinted(
		"have data lead to the server that accepts writes; of several hosts in the URL "+
			"target_session_attrs=read-write finds it",
		"it accepts no writes: it is a replica, or default_transaction_read_only is on",
	),
}
