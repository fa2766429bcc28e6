package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Presence is a destination that runs on a database, under its name. The database
// knows it by locks of a session: it is gone when its process or its connection is.
type Presence struct {
	config Config
	off    atomic.Int64  // by how much our clock is ahead of the database's, as a time.Duration
	turn   chan struct{} // holds one while the field below is used
	conn   *pgx.Conn     // nil: lost
}

// ErrNameTaken is the error for a name under which another destination runs.
var ErrNameTaken = errors.New("another destination of this name runs on the database")

// ErrRunning is the error for what must not happen while a destination runs.
var ErrRunning = errors.New("a destination runs on the database")

// Advisory locks of presence. Each destination shares that of running, and has the
// one of its name alone.
const (
	lockRunning = "select %s(hashtextextended('destination', 0))"
	lockName    = "select pg_advisory_lock(hashtextextended('destination ' || $1, 0))"
)

const (
	// gone is how long a start waits for the end of a former process of its name.
	gone = "3s"
	// checkEvery is how often a destination finds out whether its name is its own.
	checkEvery = 5 * time.Second
	// checkTimeout bounds one check.
	checkTimeout = 3 * time.Second
)

// Bounds of what the clocks of a destination and of the database differ by. What all
// destinations share is removed by the clock of whichever does it: one that is minutes
// ahead ends what the others still need, and has them refuse requests.
const (
	clockWarned  = 5 * time.Second
	clockRefused = time.Minute
)

// Appear has a destination run on a database under its name. The error is an
// ErrNameTaken when another one does.
func Appear(ctx context.Context, c Config) (*Presence, error) {
	p := &Presence{
		config: c,
		turn:   make(chan struct{}, 1),
	}
	if err := p.connect(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

// connect connects and locks.
func (p *Presence) connect(ctx context.Context) error {
	settings, err := p.config.parse("public")
	if err != nil {
		return err
	}
	params := settings.ConnConfig.RuntimeParams
	params["application_name"] = "destination " + p.config.Name
	params["lock_timeout"] = gone

	conn, err := pgx.ConnectConfig(ctx, settings.ConnConfig)
	if err != nil {
		return unreachable(err)
	}
	err = p.examine(ctx, conn)
	if err == nil {
		err = p.lock(ctx, conn)
	}
	if err != nil {
		_ = conn.Close(context.WithoutCancel(ctx)) // the error says more
		return err
	}

	p.conn = conn
	return nil
}

// examine returns an error when the database accepts no writes, or when our clock and the
// database's differ by more than clockRefused. What the round trip lasts does not count.
func (p *Presence) examine(ctx context.Context, conn *pgx.Conn) error {
	var theirs time.Time
	var readOnly bool
	before := p.now()
	err := conn.QueryRow(ctx, "select clock_timestamp(), "+isReadOnly).Scan(&theirs, &readOnly)
	after := p.now()
	if err != nil {
		return unreachable(err)
	}
	if readOnly {
		return errReadOnly
	}

	var off time.Duration
	switch {
	case theirs.Before(before):
		off = before.Sub(theirs)
	case theirs.After(after):
		off = after.Sub(theirs)
	}
	p.off.Store(int64(off))
	if off.Abs() <= clockRefused {
		return nil
	}
	return hinted("have this machine and the database's keep their time by NTP", "%s", clockText(off))
}

func (p *Presence) now() time.Time {
	if p.config.now != nil {
		return p.config.now()
	}
	return time.Now()
}

// Health returns what an operator must know of the clock, as it was when the database
// was reached last.
func (p *Presence) Health() []string {
	off := time.Duration(p.off.Load())
	if off.Abs() <= clockWarned {
		return nil
	}
	return []string{clockText(off)}
}

func clockText(off time.Duration) string {
	way := "ahead of"
	if off < 0 {
		way = "behind"
	}
	return fmt.Sprintf("the clock of this machine is %s %s the database's", off.Abs().Round(time.Second/10), way)
}

// lock locks the name and the presence of any destination.
func (p *Presence) lock(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, fmt.Sprintf(lockRunning, "pg_advisory_lock_shared"))
	if isLocked(err) {
		return hinted("wait until the restore has ended", "the database is being restored")
	}
	if err == nil {
		_, err = conn.Exec(ctx, lockName, p.config.Name)
	}
	if isLocked(err) {
		return &Error{
			Err: fmt.Errorf("%w: %s", ErrNameTaken, p.config.Name),
			Hint: "stop that one, or set postgres.name to a name of its own; one whose machine is gone is forgotten " +
				"after 11 s",
		}
	}
	if err != nil {
		return unreachable(err)
	}
	return nil
}

// isLocked reports whether a lock was not free in time.
func isLocked(err error) bool {
	var answered *pgconn.PgError
	return errors.As(err, &answered) && answered.Code == "55P03" // lock_not_available
}

// Check reports why the database cannot be reached or accepts no writes at this moment,
// that another destination has the name now, or that our clock is wrong; nil when all is well. What
// was lost is tried anew.
func (p *Presence) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return unreachable(ctx.Err())
	}

	if p.conn != nil {
		err := p.examine(ctx, p.conn)
		if err == nil || time.Duration(p.off.Load()).Abs() > clockRefused && !p.conn.IsClosed() {
			return err
		}
		p.drop()
	}
	return p.connect(ctx)
}

// drop gives the connection up.
func (p *Presence) drop() {
	if p.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = p.conn.Close(ctx) // it may be lost
	p.conn = nil
}

// Watch keeps the name until ctx ends, and then returns nil. It returns an
// ErrNameTaken when another destination took the name while the database could not be
// reached: this one must end.
func (p *Presence) Watch(ctx context.Context) error {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}

		if err := p.Check(ctx); errors.Is(err, ErrNameTaken) {
			return err
		}
	}
}

// Close frees the name.
func (p *Presence) Close() error {
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	p.drop()
	return nil
}

// Alone calls f while no destination runs on the database and none can start. It waits
// a moment for one that is ending. Else its error is an ErrRunning. The connection that f
// gets is the one that keeps destinations out, and transactions on it may take long: when
// it is lost, so is what f has not committed.
func Alone(ctx context.Context, c Config, f func(*pgx.Conn) error) error {
	conn, err := connectLong(ctx, c)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))

	_, err = conn.Exec(ctx, "set lock_timeout = '"+gone+"'")
	if err == nil {
		_, err = conn.Exec(ctx, fmt.Sprintf(lockRunning, "pg_advisory_lock"))
	}
	if isLocked(err) {
		return &Error{
			Err:  ErrRunning,
			Hint: "stop all destinations on it",
		}
	}
	if err == nil {
		_, err = conn.Exec(ctx, "set lock_timeout = 0")
	}
	if err != nil {
		return unreachable(err)
	}
	return f(conn)
}

// Examine finds out whether a destination could start on a database, and reports
// whether one of its name runs, which is no error.
func Examine(ctx context.Context, c Config) (running bool, err error) {
	for _, schema := range schemas {
		db, err := open(ctx, c, schema)
		if err != nil {
			return false, err
		}
		_ = db.Close() // never fails
	}

	p, err := Appear(ctx, c)
	if errors.Is(err, ErrNameTaken) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return false, p.Close()
}
