package postgres

import (
	"context"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// answerTimeout bounds each wait for the server. What a statement may wait for,
	// such as a lock, is bounded by the server in less.
	answerTimeout = 10 * time.Second
	// pingTimeout bounds the wait for a connection to be found alive before it is used.
	pingTimeout = 2 * time.Second
)

// newPool makes connections on which every wait for the server ends in time. A server
// that is stopped, or that cannot be reached any more, closes no connection: without a
// bound, requests would wait for it as long as their clients do. After a wait without
// an answer those that are idle are given up.
func newPool(ctx context.Context, c *pgxpool.Config, a *arrivals) (*pgxpool.Pool, error) {
	var made atomic.Pointer[pgxpool.Pool]
	dial := c.ConnConfig.DialFunc
	c.PingTimeout = pingTimeout
	c.AfterConnect = a.examine
	c.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &boundedConn{
			Conn: conn,
			stuck: func() {
				if pool := made.Load(); pool != nil {
					pool.Reset()
				}
			},
		}, nil
	}

	pool, err := pgxpool.NewWithConfig(ctx, c)
	made.Store(pool)
	return pool, err
}

// unbounded is the dialing of connections that wait for what may never come.
func unbounded() pgconn.DialFunc { return new(net.Dialer).DialContext }

// boundedConn is a connection to the server on which each wait ends in time.
type boundedConn struct {
	net.Conn
	stuck func() // called after a long wait that ended without an answer

	mu    sync.Mutex // guards the field below, and the deadline of Conn for reading
	until time.Time  // as the driver has set it; zero: none
}

// Read reads what the server sends.
func (c *boundedConn) Read(b []byte) (int, error) {
	begun := time.Now()
	n, err := c.read(b, answerTimeout)
	if n == 0 && os.IsTimeout(err) && time.Since(begun) > pingTimeout/2 {
		c.stuck()
	}
	return n, err
}

func (c *boundedConn) read(b []byte, atMost time.Duration) (int, error) {
	c.mu.Lock()
	end := time.Now().Add(atMost)
	if !c.until.IsZero() && c.until.Before(end) {
		end = c.until
	}
	err := c.Conn.SetReadDeadline(end)
	c.mu.Unlock()

	if err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

// SetDeadline sets the driver's own deadline.
func (c *boundedConn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until = t
	return c.Conn.SetDeadline(t)
}

// SetReadDeadline is SetDeadline for reading alone.
func (c *boundedConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until = t
	return c.Conn.SetReadDeadline(t)
}
