package main

import (
	"net"
	"sync"
)

// link carries bytes between a destination and PostgreSQL, and can be cut.
type link struct {
	target   string
	listener net.Listener

	// mu guards what follows; mended is signalled when held becomes false.
	mu     sync.Mutex
	mended *sync.Cond
	held   bool // nothing passes, and nobody is told
	reset  bool // every connection is reset, new ones too
	open   map[*net.TCPConn]bool
}

// newLink listens on a port of its own.
func newLink(target string) (*link, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	k := &link{
		target:   target,
		listener: l,
		open:     map[*net.TCPConn]bool{},
	}
	k.mended = sync.NewCond(&k.mu)
	go k.serve()
	return k, nil
}

func (k *link) address() string { return k.listener.Addr().String() }

// serve carries connections until the listener is closed.
func (k *link) serve() {
	for {
		c, err := k.listener.Accept()
		if err != nil {
			return
		}
		go k.carry(c.(*net.TCPConn))
	}
}

// carry carries one connection.
func (k *link) carry(near *net.TCPConn) {
	if !k.enter(near) {
		return
	}
	defer k.leave(near)

	c, err := net.Dial("tcp", k.target)
	if err != nil {
		return // PostgreSQL is away
	}
	far := c.(*net.TCPConn)
	if !k.enter(far) {
		return
	}
	defer k.leave(far)

	var both sync.WaitGroup
	both.Go(func() { k.pass(far, near) })
	both.Go(func() { k.pass(near, far) })
	both.Wait()
}

// pass copies until either side ends, and holds bytes back while the link is cut in silence.
func (k *link) pass(to, from *net.TCPConn) {
	defer to.Close()
	defer from.Close()

	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		k.await()
		if _, failed := to.Write(b[:n]); failed != nil || err != nil {
			return
		}
	}
}

// await waits while the link is cut in silence.
func (k *link) await() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for k.held {
		k.mended.Wait()
	}
}

// enter remembers a connection, unless it is reset at once.
func (k *link) enter(c *net.TCPConn) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.reset {
		kill(c)
		return false
	}
	k.open[c] = true
	return true
}

func (k *link) leave(c *net.TCPConn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.open, c)
	c.Close()
}

// kill resets a connection.
func kill(c *net.TCPConn) {
	_ = c.SetLinger(0) // it is closed in any case
	c.Close()
}

// cut severs the link: in silence, with every byte held back, or by resets.
func (k *link) cut(silent bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held, k.reset = silent, !silent
	if silent {
		return
	}
	for c := range k.open {
		kill(c)
	}
}

// mend lets what was held back pass, and everything after it.
func (k *link) mend() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held, k.reset = false, false
	k.mended.Broadcast()
}

// close ends everything.
func (k *link) close() {
	k.listener.Close()
	k.cut(false)
	k.mend()
}
