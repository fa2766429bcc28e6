// Package quiet keeps a log readable while a store cannot be reached: the same message
// about it is logged at once, and then once in a while with how many were left out.
package quiet

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// Every is how often the same message is logged.
const Every = time.Minute

// mostMessages bounds how many messages are remembered.
const mostMessages = 200

// Handler passes records on. One at level warn or above with an attribute that is an
// error of the kind given is passed on once in Every, by its message and level.
type Handler struct {
	slog.Handler
	kind error
	now  func() time.Time
	seen *seen
}

// seen are the messages of a handler and of those that were derived from it.
type seen struct {
	mu  sync.Mutex // guards the field below
	all map[message]*repetition
}

type message struct {
	level slog.Level
	text  string
}

// repetition is how often a message was left out since it was logged.
type repetition struct {
	logged  time.Time
	omitted int
}

// New returns a handler that bounds the records about errors of one kind.
func New(to slog.Handler, kind error, now func() time.Time) *Handler {
	return &Handler{
		Handler: to,
		kind:    kind,
		now:     now,
		seen:    &seen{all: map[message]*repetition{}},
	}
}

// Handle implements slog.Handler.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn || !h.concerns(r) {
		return h.Handler.Handle(ctx, r)
	}

	omitted, due := h.seen.note(message{r.Level, r.Message}, h.now())
	if !due {
		return nil
	}
	if omitted > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("omitted", omitted))
	}
	return h.Handler.Handle(ctx, r)
}

// concerns reports whether a record has an error of the kind.
func (h *Handler) concerns(r slog.Record) (yes bool) {
	r.Attrs(func(a slog.Attr) bool {
		err, ok := a.Value.Any().(error)
		yes = ok && errors.Is(err, h.kind)
		return !yes
	})
	return yes
}

// note notes a message. due reports whether it is to be logged, with how many were
// omitted since it was.
func (s *seen) note(m message, now time.Time) (omitted int, due bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.all[m]
	if last != nil && now.Sub(last.logged).Abs() < Every {
		last.omitted++
		return 0, false
	}

	if last == nil {
		s.makeRoom()
		last = &repetition{}
		s.all[m] = last
	}
	omitted = last.omitted
	*last = repetition{logged: now}
	return omitted, true
}

// makeRoom removes the message that was logged longest ago, when there are too many.
func (s *seen) makeRoom() {
	if len(s.all) < mostMessages {
		return
	}

	var oldest message
	for m, r := range s.all {
		if first := s.all[oldest]; first == nil || r.logged.Before(first.logged) {
			oldest = m
		}
	}
	delete(s.all, oldest)
}

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	out := *h
	out.Handler = h.Handler.WithAttrs(attrs)
	return &out
}

// WithGroup implements slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	out := *h
	out.Handler = h.Handler.WithGroup(name)
	return &out
}
