package api

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/server/lab"
	"fhirdest.example/udap/conform"
)

// heartbeat is the time between two signs of life of a stream of events.
const heartbeat = 15 * time.Second

// page is how many exchanges are read at once.
const page = 100

// event is what the stream has of an update. The exchange itself is asked for by its
// number.
type event struct {
	Session    lab.Session     `json:"session"`
	N          uint64          `json:"n,omitzero"`
	Step       conform.Step    `json:"step,omitempty"`
	Method     string          `json:"method,omitempty"`
	Target     string          `json:"target,omitempty"`
	Status     int             `json:"status,omitzero"`
	Assessment *lab.Assessment `json:"assessment,omitempty"`
}

func newEvent(session lab.Session, k *lab.Kept) event {
	e := event{Session: session}
	if k != nil {
		e.N = k.N
		e.Step = k.Exchange.Step
		e.Method = k.Method
		e.Target = k.Target
		e.Status = k.Status
		e.Assessment = &k.Assessment
	}
	return e
}

// events streams the updates of a session as server-sent events. The id of an event is
// the number of its exchange; the stream begins after Last-Event-ID, or else at from.
func (r *request) events() error {
	from, err := number(r.URL.Query().Get("from"), 1)
	if err != nil {
		return err
	}

	if last, err := strconv.ParseUint(r.Request.Header.Get("Last-Event-ID"), 10, 63); err == nil {
		from = last + 1
	}

	updates, cancel, err := r.Lab.Watch(r.id)
	if err != nil {
		return err
	}
	defer cancel()

	session, err := r.Lab.Session(r.id)
	if err != nil {
		return err
	}

	r.Header().Set("Content-Type", "text/event-stream")
	r.WriteHeader(http.StatusOK)
	s := &stream{
		request: r,
		control: http.NewResponseController(r.ResponseWriter),
		next:    from,
	}
	_ = s.run(session, updates) // whoever watched has gone, or the session

	return nil
}

// stream is one stream of events.
type stream struct {
	*request
	control *http.ResponseController
	next    uint64 // exchange
}

func (s *stream) run(session lab.Session, updates <-chan lab.Update) error {
	if err := s.catchUp(session); err != nil {
		return err
	}

	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-s.Context().Done():
			return s.Context().Err()
		case <-beat.C:
			if err := s.put(":\n\n"); err != nil {
				return err
			}

		case u, more := <-updates:
			if !more {
				return io.EOF
			}
			if err := s.update(u); err != nil {
				return err
			}
		}
	}
}

// catchUp sends what is kept already.
func (s *stream) catchUp(session lab.Session) error {
	if err := s.put(":\n\n"); err != nil {
		return err
	}

	for {
		some, err := s.Lab.Exchanges(s.Context(), s.id, s.next, page)
		if err != nil || len(some) == 0 {
			return err
		}

		for _, k := range some {
			if err := s.send("exchange", newEvent(session, k)); err != nil {
				return err
			}
			s.next = k.N + 1
		}
	}
}

// update sends what is new of an update.
func (s *stream) update(u lab.Update) error {
	switch {
	case u.Ended:
		return errors.Join(s.send("end", newEvent(u.Session, nil)), io.EOF)
	case u.Kept == nil:
		if u.Session.Counts.Exchanges+1 < s.next {
			s.next = 1 // a new run
		}
		return s.send("session", newEvent(u.Session, nil))

	case u.Kept.N < s.next:
		return nil
	}

	s.next = u.Kept.N + 1
	return s.send("exchange", newEvent(u.Session, u.Kept))
}

func (s *stream) send(name string, e event) error {
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}

	id := ""
	if e.N > 0 {
		id = fmt.Sprintf("id: %d\n", e.N)
	}
	return s.put(fmt.Sprintf("%sevent: %s\ndata: %s\n\n", id, name, text))
}

// put writes a part of the stream, which may last longer than other answers.
func (s *stream) put(text string) error {
	_ = s.control.SetWriteDeadline(time.Now().Add(2 * heartbeat)) // what cannot has none
	if _, err := io.WriteString(s.ResponseWriter, text); err != nil {
		return err
	}
	return s.control.Flush()
}
