package gateway

import (
	"sync"
	"sync/atomic"
	"time"
)

// watch is the time limit of what one goroutine waits for. The janitor looks at all
// of them every tick; one that is over wakes the goroutine by a deadline in the past.
type watch struct {
	// mu guards the fields below, as the janitor must not wake what has moved on.
	mu    sync.Mutex
	at    time.Duration // by the janitor's clock; 0: no limit
	conn  *rawConn
	write bool
	idle  bool // between requests: draining may end it at once
	fired bool

	// first is the limit of an answer's first byte, which begins to run when the
	// whole request has been sent: asked then, while waiting is the reader's part.
	first          time.Duration
	waiting, asked bool
}

// awaits has the reader of an answer wait for its first byte on c. The limit runs
// from the end of the request, which sent tells, from this goroutine or another.
func (w *watch) awaits(j *janitor, c *rawConn, limit time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conn, w.write, w.idle, w.waiting, w.first = c, false, false, true, limit
	w.at = 0
	if w.asked {
		w.at = j.clock() + limit
	}
}

// sent tells whether the whole request has been sent.
func (w *watch) sent(j *janitor, whole bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = whole
	if whole && w.waiting {
		w.at = j.clock() + w.first
	}
}

// reads sets the limit of a read from c.
func (w *watch) reads(j *janitor, c *rawConn, limit time.Duration) { w.arm(j, c, limit, false, false) }

// writes sets the limit of a write to c.
func (w *watch) writes(j *janitor, c *rawConn, limit time.Duration) { w.arm(j, c, limit, true, false) }

// idles sets the limit of waiting for the next request on c.
func (w *watch) idles(j *janitor, c *rawConn, limit time.Duration) { w.arm(j, c, limit, false, true) }

// rests sets no limit: the goroutine waits for nothing of its peers.
func (w *watch) rests() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at, w.waiting = 0, false
}

func (w *watch) arm(j *janitor, c *rawConn, limit time.Duration, write, idle bool) {
	w.mu.Lock()
	w.at = j.clock() + limit
	w.conn, w.write, w.idle, w.waiting = c, write, idle, false
	w.mu.Unlock()
}

// over reports whether a limit has been passed, and says so once.
func (w *watch) over() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.fired
	w.fired = false
	return f
}

// look fires the watch when its time has come.
func (w *watch) look(now time.Duration, draining bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.at == 0 || now < w.at && !(draining && w.idle) {
		return
	}

	w.at, w.fired = 0, true
	if w.write {
		w.conn.SetWriteDeadline(past)
		return
	}
	w.conn.SetReadDeadline(past)
}

// cut ends the connection that is waited for.
func (w *watch) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = 0
	if w.conn != nil {
		w.conn.cut()
	}
}

// janitor holds the watches of a gateway.
type janitor struct {
	ticks    atomic.Int64 // nanoseconds since its start, to within a tick
	draining atomic.Bool

	mu      sync.Mutex
	watches map[*watch]struct{}
}

func (j *janitor) clock() time.Duration { return time.Duration(j.ticks.Load()) }

func (j *janitor) add(w *watch) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.watches == nil {
		j.watches = map[*watch]struct{}{}
	}
	j.watches[w] = struct{}{}
}

func (j *janitor) remove(w *watch) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.watches, w)
}

// run looks at every watch each tick until stop is closed.
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
	for w := range j.watches {
		w.look(j.clock(), j.draining.Load())
	}
}

// cutAll ends everything that is still under way.
func (j *janitor) cutAll() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for w := range j.watches {
		w.cut()
	}
}
