package gateway

import (
	"sync"
	"sync/atomic"
	"time"
)

// deadline is the time limit of what one goroutine waits for. The janitor looks at all
// of them every tick; one that is over wakes the goroutine by a deadline in the past.
type deadline struct {
	// client is the connection of the client that the goroutine serves; nil: of none.
	// Its reset ends a wait for anything else.
	client *rawConn

	// mu guards the fields below, as the janitor must not wake what has moved on.
	mu    sync.Mutex
	at    time.Duration // by the janitor's clock; 0: no limit
	conn  *rawConn      // that is waited for; nil: none
	write bool
	idle  bool // between requests: draining may end it at once
	fired bool
	gone  bool  // the client's connection was reset
	turn  *turn // of a rate, when that is waited for

	// first is the limit of an answer's first byte, which begins to run when the
	// whole request has been sent: asked then, while waiting is the reader's part.
	first          time.Duration
	waiting, asked bool
}

// awaits has the reader of an answer wait for its first byte on c. The limit runs
// from the end of the request, which sent reports, from this goroutine or another.
func (d *deadline) awaits(j *janitor, c *rawConn, limit time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conn = c
	d.write = false
	d.idle = false
	d.waiting = true
	d.first = limit
	d.at = 0
	if d.asked {
		d.at = j.clock() + limit
	}
	d.endForGone()
}

// sent reports whether it is now the next hop's turn to speak.
func (d *deadline) sent(j *janitor, whole bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = whole
	if !d.waiting {
		return
	}

	d.at = 0
	if whole {
		d.at = j.clock() + d.first
	}
}

// reads sets the limit of a read from c.
func (d *deadline) reads(j *janitor, c *rawConn, limit time.Duration) {
	d.arm(j, c, limit, false, false)
}

// writes sets the limit of a write to c.
func (d *deadline) writes(j *janitor, c *rawConn, limit time.Duration) {
	d.arm(j, c, limit, true, false)
}

// idles sets the limit of waiting for the next request on c.
func (d *deadline) idles(j *janitor, c *rawConn, limit time.Duration) {
	d.arm(j, c, limit, false, true)
}

// rests sets no limit: the goroutine waits for nothing of its peers.
func (d *deadline) rests() { d.queues(nil) }

// queues has the goroutine wait for a turn, or for nothing.
func (d *deadline) queues(t *turn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at = 0
	d.waiting = false
	d.turn = t
}

func (d *deadline) arm(j *janitor, c *rawConn, limit time.Duration, write, idle bool) {
	d.mu.Lock()
	d.at = j.clock() + limit
	d.conn, d.write, d.idle, d.waiting = c, write, idle, false
	d.endForGone()
	d.mu.Unlock()
}

// endForGone ends a wait for somebody else that begins when the client is known to have
// gone: a client is probed no more then. The caller holds mu.
func (d *deadline) endForGone() {
	if d.gone && d.conn != d.client {
		d.wake()
	}
}

// over reports, once, whether a limit has been passed.
func (d *deadline) over() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.fired
	d.fired = false
	return f
}

// clientGone reports whether the client's connection was reset while something else was
// awaited.
func (d *deadline) clientGone() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.gone
}

// look fires the deadline when its time has come.
func (d *deadline) look(now time.Duration, draining bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.at == 0 || now < d.at && !(draining && d.idle) {
		return
	}
	d.fired = true
	d.wake()
}

// probe ends the wait when the client's connection was reset. A client that has only
// ended its sending still wants its answer.
func (d *deadline) probe() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.client == nil || d.gone {
		return
	}

	elsewhere := d.conn != d.client && (d.at != 0 || d.waiting)
	if d.turn == nil && !elsewhere {
		return
	}

	if _, reset := d.client.peerEnded(); !reset {
		return
	}

	d.gone = true
	if d.turn != nil {
		d.turn.giveUp()
		d.turn = nil
		return
	}
	d.wake()
}

// wake ends the system call that is waited in. The caller holds mu.
func (d *deadline) wake() {
	d.at = 0
	d.waiting = false
	if d.write {
		d.conn.SetWriteDeadline(past)
		return
	}
	d.conn.SetReadDeadline(past)
}

// cut ends the connection that is waited for.
func (d *deadline) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at = 0
	if d.conn != nil {
		d.conn.cut()
	}
}

// probeEvery is how often the janitor asks the system about connections that nobody
// reads from: of clients that wait, and of upstreams that do nothing.
const probeEvery = time.Second

// janitor holds the deadlines of a gateway.
type janitor struct {
	ticks    atomic.Int64 // nanoseconds since its start, to within a tick
	draining atomic.Bool

	mu        sync.Mutex
	deadlines map[*deadline]struct{}
}

func (j *janitor) clock() time.Duration {
	return time.Duration(j.ticks.Load())
}

func (j *janitor) add(d *deadline) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.deadlines == nil {
		j.deadlines = map[*deadline]struct{}{}
	}
	j.deadlines[d] = struct{}{}
}

func (j *janitor) remove(d *deadline) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.deadlines, d)
}

// run looks at every deadline each tick until stop is closed.
func (j *janitor) run(tick time.Duration, now func() time.Time, stop <-chan struct{}) {
	t := time.NewTicker(tick)
	defer t.Stop()
	start := now()
	for {
		select {
		case <-stop:
			return
		case <-t.C:
			j.ticks.Store(int64(now().Sub(start)))
			j.sweep()
		}
	}
}

func (j *janitor) sweep() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for d := range j.deadlines {
		d.look(j.clock(), j.draining.Load())
	}
}

// probe looks for clients that have gone.
func (j *janitor) probe() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for d := range j.deadlines {
		d.probe()
	}
}

// cutAll ends everything that is still under way.
func (j *janitor) cutAll() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for d := range j.deadlines {
		d.cut()
	}
}
