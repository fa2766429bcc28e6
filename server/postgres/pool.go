package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"fhirdest.example/server/postgres/reach"
)

// server is the server that a database is on, as it was when it was asked last. It is
// asked on a connection of its own, so that no pool and no lock is waited for.
type server struct {
	*reach.Monitor
	settings *pgx.ConnConfig
	now      func() time.Time
	whole    bool                    // all schemas are looked at, too
	found    atomic.Pointer[finding] // nil: nothing yet
	host     atomic.Int64            // the number, among those of the URL, of the one that was connected to last

	mu   sync.Mutex // guards the field below
	conn *pgx.Conn  // of the probe alone; nil: there is none
}

// finding is what the server answered.
type finding struct {
	err   error         // why no destination can run on it; nil when one can
	newer error         // a schema of a later program; nil: there is none
	off   time.Duration // by how much our clock was ahead of the database's
	wall  time.Time     // what our clock was then, without its monotonic part
	at    time.Time     // when that was, by the monotonic clock
}

// newServer returns a server that has not been asked yet. whole: it is that of a
// destination, all schemas of which must be there, and whose requests ask by
// themselves when a probe has just failed.
func newServer(c Config, whole bool) (*server, error) {
	settings, err := c.parse("public")
	if err != nil {
		return nil, err
	}
	settings.ConnConfig.RuntimeParams["application_name"] = "destination-probe"

	s := &server{
		settings: settings.ConnConfig,
		now:      c.now,
		whole:    whole,
	}
	if s.now == nil {
		s.now = time.Now
	}
	recent := time.Duration(0)
	if whole {
		recent = 3 * time.Second
	}
	s.Monitor = reach.New(s.probe, recent)
	return s, nil
}

// probe asks the server. Its error is that no answer came; what it answered is found.
func (s *server) probe(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.conn != nil
	f, err := s.ask(ctx)
	if err != nil && kept && ctx.Err() == nil {
		f, err = s.ask(ctx) // that one had ended
	}

	var refusal *pgconn.PgError
	switch {
	case errors.As(err, &refusal):
		f = &finding{err: unreachable(err)}
	case err != nil:
		return err
	}
	s.found.Store(f)
	return nil
}

// ask asks on the connection that there is, or on a new one. One on which something went
// wrong is not kept.
func (s *server) ask(ctx context.Context) (f *finding, err error) {
	if s.conn == nil {
		if s.conn, err = s.connect(ctx); err != nil {
			return nil, err
		}
	}
	f, err = s.look(ctx, s.conn)
	if err == nil && f.err == nil && s.whole {
		f.err, f.newer, err = examineSchemas(ctx, s.conn)
	}
	if err != nil || f.err != nil {
		s.close()
	}
	return f, err
}

// connect connects to the first host that can be used, from the one that was used last
// on. Each has its share of the time until ctx ends, and so has each of its addresses: one
// that is silent must not hide the next.
func (s *server) connect(ctx context.Context) (conn *pgx.Conn, err error) {
	var failed []error
	n := len(hostsOf(s.settings))
	first := int(s.host.Load())
	end := time.Now().Add(reach.Bound)
	for i := range n {
		settings := s.settings.Copy()
		from(settings, first+i)
		settings.Fallbacks = settings.Fallbacks[:len(hostsOf(settings)[0])-1]

		share := time.Until(end) / time.Duration(n-i)
		one, cancel := ctx, func() {}
		if i+1 < n {
			one, cancel = context.WithTimeout(ctx, share)
		}
		addresses, unknown := settings.LookupFunc(one, settings.Host) // a directory has none
		settings.ConnectTimeout = 0
		if len(addresses) > 1 {
			settings.ConnectTimeout = max(1, share/time.Duration(len(addresses)))
		}
		settings.LookupFunc = func(context.Context, string) ([]string, error) { return addresses, unknown }
		conn, err = pgx.ConnectConfig(one, settings)
		cancel()
		if err == nil {
			s.host.Store(int64((first + i) % n))
			return conn, nil
		}
		failed = append(failed, err)
	}
	return nil, errors.Join(failed...)
}

// hostsOf returns the hosts of a URL, each with the ways in which it is tried: with TLS,
// and without.
func hostsOf(c *pgx.ConnConfig) (all [][]*pgconn.FallbackConfig) {
	ways := append([]*pgconn.FallbackConfig{{
		Host:      c.Host,
		Port:      c.Port,
		TLSConfig: c.TLSConfig,
	}}, c.Fallbacks...)
	for i, w := range ways {
		if i == 0 || w.Host != ways[i-1].Host || w.Port != ways[i-1].Port {
			all = append(all, nil)
		}
		all[len(all)-1] = append(all[len(all)-1], w)
	}
	return all
}

// from has the hosts tried in turn from one of them on.
func from(c *pgx.ConnConfig, first int) {
	hosts := hostsOf(c)
	first %= len(hosts)
	ways := slices.Concat(slices.Concat(hosts[first:], hosts[:first])...)
	c.Host, c.Port, c.TLSConfig = ways[0].Host, ways[0].Port, ways[0].TLSConfig
	c.Fallbacks = ways[1:]
}

// prefer has the host tried first that was connected to last.
func (s *server) prefer(c *pgx.ConnConfig) { from(c, int(s.host.Load())) }

// Close ends the connection of the probe.
func (s *server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.close()
}

func (s *server) close() {
	hangUp(s.conn)
	s.conn = nil
}

// hangUp ends a connection, which may be lost; nil: there is none.
func hangUp(conn *pgx.Conn) {
	if conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx) // the server ends the session of one that is lost
}

// look finds out whether the database accepts writes, and how our clock and the
// database's differ. What the round trip lasts does not count.
func (s *server) look(ctx context.Context, conn *pgx.Conn) (*finding, error) {
	var theirs time.Time
	var readOnly bool
	before := s.now()
	err := conn.QueryRow(ctx, "select clock_timestamp(), "+isReadOnly).Scan(&theirs, &readOnly)
	after := s.now()
	if err != nil {
		return nil, err
	}

	f := &finding{
		wall: after.Round(0),
		at:   time.Now(),
	}
	switch {
	case theirs.Before(before):
		f.off = before.Sub(theirs)
	case theirs.After(after):
		f.off = after.Sub(theirs)
	}
	switch {
	case readOnly:
		f.err = errReadOnly
	case f.off.Abs() > clockRefused:
		f.err = clockError(f.off)
	}
	return f, nil
}

// off returns by how much our clock is ahead of the database's: by how much it was, and
// how far it was moved since.
func (s *server) off() time.Duration {
	f := s.found.Load()
	if f == nil || f.at.IsZero() {
		return 0
	}
	return f.off + s.now().Round(0).Sub(f.wall) - time.Since(f.at)
}

// await returns nil when the database may be used. It is asked only when it was found
// away, or our clock was moved: whoever is ahead of the others ends what they need.
func (s *server) await(ctx context.Context) error {
	if err := s.Await(ctx); err != nil {
		return silence(err)
	}
	if s.off().Abs() <= clockRefused {
		return nil
	}

	if err := s.Ask(ctx); err != nil {
		return silence(err)
	}
	if off := s.off(); off.Abs() > clockRefused {
		return &failure{err: clockError(off)}
	}
	return nil
}

// examine asks the database, and returns why no destination can run on it.
func (s *server) examine(ctx context.Context) error {
	if err := s.Ask(ctx); err != nil {
		return unreachable(silence(err))
	}
	return s.found.Load().err
}

// silence is the error for a server that does not answer. It is none of a context, which
// would be about who asked.
func silence(err error) error {
	return &failure{err: fmt.Errorf("it does not answer: %v", err)}
}

// Pool is how the connections of a store are used at one moment.
type Pool struct {
	Schema string
	Open   int // connections, idle ones included
	Used   int // connections that a request has
	Most   int // bound of Open
	// Waited counts requests that had to wait for a connection.
	Waited int64
	// Failed counts transactions and statements that could not be done because of the
	// database or of the way to it.
	Failed int64
}

func (d *database) pooled() Pool {
	s := d.pool.Stat()
	return Pool{
		Schema: d.schema,
		Open:   int(s.TotalConns()),
		Used:   int(s.AcquiredConns()),
		Most:   int(s.MaxConns()),
		Waited: s.EmptyAcquireCount(),
		Failed: d.health.failures(),
	}
}

// PoolOf returns how the connections of a store of this package are used.
func PoolOf(store any) Pool {
	switch s := store.(type) {
	case *Trust:
		return s.db.pooled()
	case *FHIR:
		return s.db.pooled()
	case *Jobs:
		return s.pooled()
	}
	return Pool{}
}
