package postgrestest

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"testing"
)

// Cutter passes connections on to a database, and cuts them after a number of bytes.
type Cutter struct {
	listener net.Listener
	socket   string

	mu    sync.Mutex // guards the fields below
	left  [2]int     // bytes until the cut, to the server and from it; negative: there is none
	seen  [2]int
	conns map[net.Conn]bool // and whether nothing comes from it any more
	held  [2]chan struct{}  // nothing passes until it is closed; nil: all does
	ended chan struct{}     // closed with the cutter
}

// NewCutter returns a cutter before a database, and the URL by which it is reached.
func NewCutter(t testing.TB, database string) (*Cutter, string) {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}

	c := &Cutter{
		listener: l,
		socket:   filepath.Join(u.Query().Get("host"), ".s.PGSQL."+u.Query().Get("port")),
		left:     [2]int{-1, -1},
		conns:    map[net.Conn]bool{},
		ended:    make(chan struct{}),
	}
	var serving sync.WaitGroup
	serving.Go(func() { c.serve(&serving) })
	t.Cleanup(func() {
		l.Close()
		close(c.ended)
		c.Cut()
		serving.Wait()
	})
	return c, fmt.Sprintf("postgres://postgres@%s%s?sslmode=disable", l.Addr(), u.Path)
}

func (c *Cutter) serve(serving *sync.WaitGroup) {
	for {
		client, err := c.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("unix", c.socket)
		if err != nil {
			client.Close()
			continue
		}

		c.mu.Lock()
		c.conns[client], c.conns[server] = false, false
		c.mu.Unlock()
		serving.Go(func() { c.pass(0, server, client) })
		serving.Go(func() { c.pass(1, client, server) })
	}
}

// pass copies one direction until either end closes, or the cut.
func (c *Cutter) pass(direction int, to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		c.wait(direction)
		if c.isSilent(from) {
			<-c.ended
			return
		}
		n, cut := c.admit(direction, n)
		if _, err := to.Write(buffer[:n]); err != nil || cut {
			return
		}
		if err != nil {
			return
		}
	}
}

// admit returns how many of n bytes pass, and whether the connection is cut then.
func (c *Cutter) admit(direction, n int) (int, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[direction] += n
	left := &c.left[direction]
	if *left < 0 {
		return n, false
	}
	if n < *left {
		*left -= n
		return n, false
	}
	n, *left = *left, -1 // what comes on another connection passes
	return n, true
}

// Hold has nothing pass in some directions until release is called, as a network that
// drops packets.
func (c *Cutter) Hold(directions ...int) (release func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range directions {
		c.held[d] = make(chan struct{})
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for d, held := range c.held {
			if held != nil {
				close(held)
			}
			c.held[d] = nil
		}
	}
}

func (c *Cutter) wait(direction int) {
	c.mu.Lock()
	held := c.held[direction]
	c.mu.Unlock()
	if held != nil {
		<-held
	}
}

// Silence has nothing pass on the connections that there are, not even their end, as a
// network that has forgotten them. Others are not concerned.
func (c *Cutter) Silence() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.conns {
		c.conns[conn] = true
	}
}

func (c *Cutter) isSilent(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conns[conn]
}

// Cut ends all connections.
func (c *Cutter) Cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.conns {
		conn.Close()
	}
	clear(c.conns)
}

// Arm has the next connections cut, and returns what has passed so far.
func (c *Cutter) Arm(direction, after int) (seen [2]int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left[direction] = after
	seen = c.seen
	c.seen = [2]int{}
	return seen
}
