package gateway

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Trouble is what is wrong with a next hop at the moment.
type Trouble struct {
	Route, Next, Address string
	Reason               string    // in a few words
	Since, Last          time.Time // of the failures since the last answer that came whole
	Count                int
}

// Troubles returns the routes whose next hop failed since its last whole answer.
func (g *Gateway) Troubles() (list []Trouble) {
	for _, r := range g.state.Load().table.routes {
		if t := r.trouble.Load(); t != nil {
			list = append(list, *t)
		}
	}
	return list
}

// failed notes that the next hop of r failed, at e, and logs it.
func (g *Gateway) failed(r *route, e *endpoint, f *fault) {
	now := g.now()
	t := Trouble{
		Route:   r.Name,
		Next:    r.Next,
		Address: e.address,
		Reason:  f.why(),
		Since:   now,
	}

	if before := r.trouble.Load(); before != nil {
		t.Since, t.Count = before.Since, before.Count
	}
	t.Last, t.Count = now, t.Count+1
	r.trouble.Store(&t)

	args := []any{
		"route", r.Name, "next", r.Next, "address", e.address, "reason", t.Reason,
	}
	if f.cause != nil {
		args = append(args, "error", f.cause)
	}
	g.warn("next hop "+r.Name+": "+t.Reason, "a next hop failed", args...)
}

// answered notes that the next hop of r gave a whole answer.
func (g *Gateway) answered(r *route) {
	if r.trouble.Load() == nil {
		return
	}
	if t := r.trouble.Swap(nil); t != nil {
		g.logCause(slog.LevelInfo, "again "+r.Name, "a next hop answers again",
			"route", r.Name,
			"next", r.Next,
			"failures", t.Count,
			"since", t.Since.UTC().Format(time.RFC3339))
	}
}

// warnEvery is how often one cause is logged at most, and maxCauses how many are
// remembered.
const (
	warnEvery = 10 * time.Second
	maxCauses = 1000
)

// causes remembers when each cause was last logged.
type causes struct {
	mu   sync.Mutex
	last map[string]*cause
}

type cause struct {
	logged time.Time
	silent int // times since then
}

// warn logs a message, unless its cause was logged a short time ago: then the next one
// that is logged has the number of those between.
func (g *Gateway) warn(cause, message string, args ...any) {
	g.logCause(slog.LevelWarn, cause, message, args...)
}

// logCause is warn at any level.
func (g *Gateway) logCause(level slog.Level, cause, message string, args ...any) {
	if n, due := g.causes.note(cause, g.now()); due {
		if n > 0 {
			args = append(args, "repeated", n)
		}
		g.log.Log(context.Background(), level, message, args...)
	}
}

// note reports whether the cause is to be logged now, and how often it was not.
func (c *causes) note(name string, now time.Time) (silent int, due bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil || len(c.last) > maxCauses {
		c.last = map[string]*cause{}
	}

	known := c.last[name]
	if known == nil {
		c.last[name] = &cause{logged: now}
		return 0, true
	}
	if now.Sub(known.logged) < warnEvery {
		known.silent++
		return 0, false
	}

	silent = known.silent
	known.logged = now
	known.silent = 0
	return silent, true
}
