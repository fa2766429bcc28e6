// Package audit remembers decisions. Every decision is in a bounded
// ring in memory; what was decided about a party that had proved who it is
// goes to a store as well. Nobody who has proved nothing can make anything
// durable grow (the store is bounded, but a stranger could push all else out of it).
package audit

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"fhirdest.example/fhir/trail"
	"fhirdest.example/udap/trace"
)

// Store keeps decisions over restarts, bounded by its own rules.
type Store interface {
	// SaveDecisions keeps all of them or none.
	SaveDecisions(decisions []Decision) error
	// Decision returns the one with an id, or false.
	Decision(id string) (Decision, bool, error)
	// Decisions returns at most n of them, newest first.
	Decisions(n int) ([]Decision, error)
}

// Decision is a trace, and whether its party was authenticated.
type Decision struct {
	Authenticated bool        `json:"authenticated"` // the party had proved who it is
	Trace         trace.Trace `json:"trace"`
}

// Config is how much a Log keeps, and where.
type Config struct {
	Keep  int          // decisions in memory; at least 1
	Store Store        // nil: memory only
	Log   *slog.Logger // one line for each decision
	// Append adds a record to the audit record of the FHIR service, where it joins
	// the next shared commit; nil: there is none.
	Append func(trail.Record) error
	// Decided gets each decision, too; nil: nobody asks.
	Decided func(*trace.Trace)
	Issuer  string // the authorization server, as those records name it
	// Every is the time between two writes to the store. What was decided
	// since the last one is lost when the process is killed: at most this long,
	// and the effects of a decision do not depend on it. 0 means 1 s.
	Every time.Duration
}

// aboutData are the actions of the FHIR service.
var aboutData = map[string]bool{
	"access":     true,
	"job":        true,
	"match":      true,
	"provenance": true,
	"signature":  true,
}

// maxPending bounds what waits for the store. A storm of authenticated
// requests loses the record of some in the store, counted, not their place in
// the ring.
const maxPending = 1024

// Log remembers decisions.
type Log struct {
	cfg Config

	// Invariant: ring holds the newest min(total, Keep) decisions; the newest
	// is at (total-1) mod Keep.
	mu      sync.Mutex
	ring    []Decision
	total   uint64
	pending []Decision // for the store, oldest first; at most maxPending
	counts  map[Count]uint64
	lost    uint64 // decisions that the store never got
}

// Count is one line of the tally.
type Count struct {
	Action  string
	Outcome string // an error code, or "granted"
	Check   string // the check that refused; empty when granted
}

// New returns an empty Log.
func New(cfg Config) *Log {
	cfg.Keep = max(cfg.Keep, 1)
	if cfg.Every <= 0 {
		cfg.Every = time.Second
	}

	return &Log{
		cfg:    cfg,
		ring:   make([]Decision, 0, cfg.Keep),
		counts: map[Count]uint64{},
	}
}

// Record remembers one decision. The trace must not change afterwards.
func (l *Log) Record(t *trace.Trace) {
	d := Decision{
		Authenticated: Authenticated(t),
		Trace:         *t,
	}
	l.remember(&d)
	l.line(t)
	l.append(&d)
	if l.cfg.Decided != nil {
		l.cfg.Decided(t)
	}
}

// append adds a decision to the audit record of the FHIR service.
func (l *Log) append(d *Decision) {
	if l.cfg.Append == nil {
		return
	}
	rec, ok := Event(d, l.cfg.Issuer)
	if !ok {
		return
	}
	if err := l.cfg.Append(rec); err != nil {
		l.failed(1, err)
	}
}

func (l *Log) remember(d *Decision) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ring) < cap(l.ring) {
		l.ring = append(l.ring, *d)
	} else {
		l.ring[l.total%uint64(cap(l.ring))] = *d
	}

	l.total++
	l.counts[countOf(&d.Trace)]++
	if l.cfg.Store == nil || !lasts(d) {
		return
	}
	if len(l.pending) == maxPending {
		l.lost++
		return
	}

	l.pending = append(l.pending, *d)
}

// lasts reports whether a decision goes to the store. Pages that a person only looked
// at do not.
func lasts(d *Decision) bool {
	t := &d.Trace
	looked := t.Person != "" && t.Effect == "" && t.Code == ""
	return d.Authenticated && !looked
}

func countOf(t *trace.Trace) Count {
	if t.Code == "" {
		return Count{
			Action:  t.Action,
			Outcome: "granted",
		}
	}

	return Count{
		Action:  t.Action,
		Outcome: string(t.Code),
		Check:   RefusedBy(t),
	}
}

// RefusedBy returns the name of the check that refused; it is empty when none did.
func RefusedBy(t *trace.Trace) string {
	if s := refusal(t); s != nil {
		return s.Check
	}
	return ""
}

// refusal returns the step that refused; nil when none did. In traces that were
// stored before they had its name it is the last refused one.
func refusal(t *trace.Trace) *trace.Step {
	var found *trace.Step
	for i := range t.Steps {
		s := &t.Steps[i]
		if s.Verdict != trace.Refused {
			continue
		}
		if s.Check == t.RefusedBy {
			return s
		}
		found = s
	}

	return found
}

// line writes the decision to the log, a refusal with what was found. The texts of
// a trace hold no secret, and package trace has made them printable.
//
// Of decisions about data it has the name of the check alone: what was asked for may
// name a patient. The trace, which administrators read, has the rest.
func (l *Log) line(t *trace.Trace) {
	if l.cfg.Log == nil {
		return
	}

	outcome := "granted"
	if t.Code != "" {
		outcome = string(t.Code)
	}
	attrs := make([]slog.Attr, 0, 11)
	attrs = append(attrs,
		slog.String("trace", t.ID),
		slog.String("action", t.Action),
		slog.String("outcome", outcome),
		slog.String("community", string(t.Community)),
		slog.String("client", string(t.Client)),
		slog.String("clientId", string(t.ClientID)),
		slog.Int("warnings", len(t.Warnings())),
	)

	if s := refusal(t); s != nil {
		attrs = append(attrs, slog.String("check", s.Check))
		if !aboutData[t.Action] {
			attrs = append(attrs,
				slog.String("found", s.Found),
				slog.String("expected", s.Expected),
				slog.String("remedy", s.Remedy),
			)
		}
	}

	l.cfg.Log.LogAttrs(context.Background(), slog.LevelInfo, "decision", attrs...)
}

// Recent returns at most n decisions, newest first.
func (l *Log) Recent(n int) []Decision {
	l.mu.Lock()
	defer l.mu.Unlock()
	n = min(n, len(l.ring))
	out := make([]Decision, 0, n)
	for i := range n {
		out = append(out, l.ring[(l.total-1-uint64(i))%uint64(cap(l.ring))])
	}
	return out
}

// Find returns the decision with an id, from memory or else from the store.
func (l *Log) Find(id string) (Decision, bool, error) {
	for _, d := range l.Recent(l.cfg.Keep) {
		if d.Trace.ID == id {
			return d, true, nil
		}
	}

	if l.cfg.Store == nil {
		return Decision{}, false, nil
	}
	return l.cfg.Store.Decision(id)
}

// Stored returns at most n decisions of the store, newest first.
func (l *Log) Stored(n int) ([]Decision, error) {
	if l.cfg.Store == nil {
		return nil, nil
	}
	return l.cfg.Store.Decisions(n)
}

// Counts returns the tally since the start.
func (l *Log) Counts() map[Count]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[Count]uint64, len(l.counts))
	for k, v := range l.counts {
		out[k] = v
	}
	return out
}

// Lost is how many decisions the store should have and has not.
func (l *Log) Lost() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// Run writes to the store until ctx ends, and then once more.
func (l *Log) Run(ctx context.Context) {
	tick := time.NewTicker(l.cfg.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			l.Flush()
			return
		case <-tick.C:
			l.Flush()
		}
	}
}

// Flush writes what waits for the store.
func (l *Log) Flush() {
	l.mu.Lock()
	batch := l.pending
	l.pending = nil
	l.mu.Unlock()
	if len(batch) == 0 {
		return
	}
	if err := l.cfg.Store.SaveDecisions(batch); err != nil {
		l.failed(len(batch), err)
	}
}

func (l *Log) failed(n int, err error) {
	l.mu.Lock()
	l.lost += uint64(n)
	l.mu.Unlock()
	if l.cfg.Log != nil {
		l.cfg.Log.Error("decisions could not be stored", "count", n, "cause", err)
	}
}
