package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"fhirdest.example/server/postgres/reach"
)

// Presence is a destination that runs on a database, under its name. The database
// knows it by locks of a session: it is gone when its process or its connection is.
type Presence struct {
	config Config
	server *server
	unsure atomic.Pointer[failure] // why the name may be another's; nil: it is ours

	turn    chan struct{} // holds one while the fields below are used
	conn    *pgx.Conn     // nil: lost
	backend backend       // of conn, or of the one that was lost
}

// backend is a session of the server, by its process and when that began.
type backend struct {
	pid   int
	began string
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
	// checkTimeout bounds that. It is longer than the wait for the name.
	checkTimeout = 8 * time.Second
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
	server, err := newServer(c, true)
	if err != nil {
		return nil, err
	}

	p := &Presence{
		config: c,
		server: server,
		turn:   make(chan struct{}, 1),
	}
	p.config.server = server
	if err := p.connect(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

// Config is that of the stores of this destination: they share what is known of the
// server.
func (p *Presence) Config() Config { return p.config }

// connect connects and locks.
func (p *Presence) connect(ctx context.Context) error {
	settings, err := p.config.parse("public")
	if err != nil {
		return err
	}
	params := settings.ConnConfig.RuntimeParams
	params["application_name"] = "destination " + p.config.Name
	params["lock_timeout"] = gone
	p.server.prefer(settings.ConnConfig)

	conn, err := pgx.ConnectConfig(ctx, settings.ConnConfig)
	if err != nil {
		return unreachable(err)
	}
	err = p.look(ctx, conn)
	if err == nil {
		err = p.endFormer(ctx, conn)
	}
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

// look returns an error when no destination can run on the database.
func (p *Presence) look(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	f, err := p.server.look(ctx, conn)
	if err != nil {
		return unreachable(err)
	}
	p.server.found.Store(f)
	return f.err
}

// endFormer ends the session that was lost: the server may not know yet that nobody is
// at its other end, and would keep the name for it.
func (p *Presence) endFormer(ctx context.Context, conn *pgx.Conn) error {
	const end = `select count(pg_terminate_backend(pid, 1000)) from pg_stat_activity
		where pid = $1 and backend_start::text = $2`
	if p.backend.pid != 0 {
		if _, err := conn.Exec(ctx, end, p.backend.pid, p.backend.began); err != nil {
			return unreachable(err)
		}
	}

	const own = "select pid, backend_start::text from pg_stat_activity where pid = pg_backend_pid()"
	if err := conn.QueryRow(ctx, own).Scan(&p.backend.pid, &p.backend.began); err != nil {
		return unreachable(err)
	}
	return nil
}

// Health returns what an operator must know of the clock and of the schemas.
func (p *Presence) Health() (all []string) {
	if off := p.server.off(); off.Abs() > clockWarned {
		all = append(all, clockText(off))
	}
	if f := p.server.found.Load(); f.newer != nil {
		all = append(all, f.newer.Error())
	}
	return all
}

// Await asks a server that was away how it is now. Without it a store that cannot be
// reached may be believed to be away for some seconds longer.
func (p *Presence) Await(ctx context.Context) {
	if p.server.Away() != nil {
		_ = p.server.Ask(ctx) // the stores have the result
	}
}

// clockError is the error for a clock that differs by more than clockRefused.
func clockError(off time.Duration) error {
	return hinted("have this machine and the database's keep their time by NTP", "%s", clockText(off))
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

// Check reports why no destination can run on the database at this moment: it cannot be
// reached, accepts no writes, lacks a schema, our clock is wrong or our name is another
// destination's; nil when all is well. It returns in at most reach.Patience.
func (p *Presence) Check(ctx context.Context) error {
	if err := p.server.examine(ctx); err != nil {
		return err
	}
	if f := p.unsure.Load(); f != nil {
		return f.err
	}
	return nil
}

// keep finds out whether the name is still ours. What was lost is tried anew.
func (p *Presence) keep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if err := p.server.examine(ctx); err != nil {
		return err
	}

	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return unreachable(ctx.Err())
	}
	if p.answers(ctx) {
		return nil
	}
	p.drop()
	err := p.connect(ctx)
	if err != nil {
		p.unsure.Store(&failure{err: err})
	} else {
		p.unsure.Store(nil)
	}
	return err
}

// answers reports whether the connection still works. It leaves time for another one: a
// network may have lost this one alone, and say nothing of it.
func (p *Presence) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, reach.Bound)
	defer cancel()
	return p.conn != nil && p.conn.Ping(ctx) == nil
}

// drop gives the connection up.
func (p *Presence) drop() {
	hangUp(p.conn)
	p.conn = nil
}

// Watch keeps the name until ctx ends, and then returns nil. It calls changed with why no
// destination can run on the database when that begins, and with nil at its end. It
// returns an ErrNameTaken when another destination took the name while the database could
// not be reached: this one must end.
func (p *Presence) Watch(ctx context.Context, changed func(error)) error {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	well := true
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-p.server.Changes():
		}

		err := p.keep(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrNameTaken):
			return err
		case (err == nil) != well:
			well = err == nil
			changed(err)
		}
	}
}

// Close frees the name.
func (p *Presence) Close() error {
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	p.drop()
	p.server.Close()
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
