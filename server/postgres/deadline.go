package postgres

import (
	"context"
	"net"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"fhirdest.example/server/postgres/flow"
	"fhirdest.example/server/postgres/reach"
)

const (
	// answerTimeout bounds each wait for the server. What a statement may wait for,
	// such as a lock, is bounded by the server in less.
	answerTimeout = 10 * time.Second
	// suspicious is how long a wait for the server lasts before it is asked whether it
	// answers at all.
	suspicious = time.Second
)

// newPool makes connections on which every wait for the server ends in time. A server
// that is stopped, or that cannot be reached any more, closes no connection: without a
// bound, requests would wait for it as long as their clients do. A wait that lasts has
// the monitor ask the server. While it does not answer no connection is used or made,
// and all waits end.
func newPool(
	ctx context.Context, c *pgxpool.Config, a *arrivals, s *server,
) (*pgxpool.Pool, error) {
	open := &connections{monitor: s.Monitor}
	dial := c.ConnConfig.DialFunc
	c.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			s.Lost(err)
			return nil, err
		}
		return open.add(conn), nil
	}

	c.PingTimeout = answerTimeout
	c.ShouldPing = func(_ context.Context, p pgxpool.ShouldPingParams) bool {
		return s.Away() == nil && p.IdleDuration > time.Second
	}
	c.PrepareConn = func(ctx context.Context, _ *pgx.Conn) (bool, error) {
		return true, s.await(ctx)
	}
	c.BeforeConnect = func(ctx context.Context, settings *pgx.ConnConfig) error {
		err := s.await(ctx)
		s.prefer(settings)
		return err
	}
	c.AfterConnect = a.examine

	pool, err := pgxpool.NewWithConfig(ctx, c)
	if err != nil {
		return nil, err
	}
	s.OnSilence(func() {
		pool.Reset()
		open.interrupt()
	})
	return pool, nil
}

// unbounded is the dialing of connections that wait for what may never come. They end
// when the way to the server is lost.
func unbounded() pgconn.DialFunc { return flow.Dialer().DialContext }

// connections are those of a pool.
type connections struct {
	monitor *reach.Monitor

	mu  sync.Mutex // guards the field below
	all map[*boundedConn]bool
}

func (c *connections) add(conn net.Conn) *boundedConn {
	out := &boundedConn{
		Conn: conn,
		of:   c,
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = map[*boundedConn]bool{}
	}
	c.all[out] = true
	return out
}

// interrupt ends all waits, and the use of the connections.
func (c *connections) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.all {
		conn.interrupt()
	}
}

// boundedConn is a connection to the server on which each wait ends in time.
type boundedConn struct {
	net.Conn
	of *connections

	mu          sync.Mutex // guards the fields below, and the deadlines of Conn
	interrupted bool
	until       time.Time          // as the driver has set it; zero: none
	waiting     context.CancelFunc // ends the wait for the monitor; nil: there is none
}

// Read reads what the server sends.
func (c *boundedConn) Read(b []byte) (n int, err error) {
	err = c.patiently(c.Conn.SetReadDeadline, func() (bool, error) {
		n, err = c.Conn.Read(b)
		return n > 0, err
	})
	return n, err
}

// Write writes to the server, which must read it.
func (c *boundedConn) Write(b []byte) (n int, err error) {
	err = c.patiently(c.Conn.SetWriteDeadline, func() (bool, error) {
		var more int
		more, err = c.Conn.Write(b[n:])
		n += more
		return n == len(b), err
	})
	return n, err
}

// patiently calls f until it is done or fails, and asks the monitor whether to go on when
// a call has lasted long.
func (c *boundedConn) patiently(setDeadline func(time.Time) error, f func() (done bool, err error)) error {
	end := time.Now().Add(answerTimeout)
	for {
		last, err := c.bound(setDeadline, end)
		if err != nil {
			return err
		}
		done, err := f()
		if done || !os.IsTimeout(err) || last || !c.answers() {
			return err
		}
	}
}

// bound sets the deadline of one call. last reports whether it is the last one.
func (c *boundedConn) bound(set func(time.Time) error, end time.Time) (last bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.until.IsZero() && c.until.Before(end) {
		end = c.until
	}
	next := time.Now().Add(suspicious)
	if c.interrupted || !next.Before(end) {
		next, last = end, true
	}
	if c.interrupted {
		next = past
	}
	return last, set(next)
}

// past is a deadline that has passed.
var past = time.Unix(1, 0)

// answers reports whether the server answers, and the connection may be used.
func (c *boundedConn) answers() bool {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c.mu.Lock()
	c.waiting = cancel
	ended := c.interrupted || !c.until.IsZero() && c.until.Before(time.Now())
	c.mu.Unlock()
	if ended {
		return false
	}

	err := c.of.monitor.Ask(ctx)

	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = nil
	return err == nil
}

// interrupt ends the use of the connection.
func (c *boundedConn) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.interrupted = true
	_ = c.Conn.SetDeadline(past) // one that is closed waits for nothing
}

// Close closes the connection.
func (c *boundedConn) Close() error {
	c.of.mu.Lock()
	delete(c.of.all, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// SetDeadline sets the driver's own deadline.
func (c *boundedConn) SetDeadline(t time.Time) error { return c.set(c.Conn.SetDeadline, t) }

// SetReadDeadline is SetDeadline for reading alone.
func (c *boundedConn) SetReadDeadline(t time.Time) error { return c.set(c.Conn.SetReadDeadline, t) }

func (c *boundedConn) set(deadline func(time.Time) error, t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until = t
	if c.interrupted {
		t = past
	}
	if c.waiting != nil && !t.IsZero() && !t.After(time.Now()) {
		c.waiting()
	}
	return deadline(t)
}
