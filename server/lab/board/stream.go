package board

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/server/lab"
	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/look"
)

// The pace of a stream.
const (
	gather    = 200 * time.Millisecond // what comes within it is sent at once
	heartbeat = 2 * time.Second        // by which a reader that has gone is found out
	following = 500 * time.Millisecond // how often the evidence of other hops is read
	sending   = 30 * time.Second       // for one event to a reader that is slow
)

// change is one element of the page that is replaced, or added.
type change struct {
	ID   string `json:"id"`
	In   string `json:"in,omitempty"` // element into which it is put when it is new
	End  bool   `json:"end,omitzero"` // there at the end, not at the beginning
	HTML string `json:"html"`         // empty: the element is removed
}

// events answers with a stream of server-sent events: for each moment in which
// something came, what has changed on the page. The id of an event is the number of
// the last exchange in it, so that a browser that comes back misses nothing. The
// stream ends with the time that the server gives an answer; browsers then come back.
func (v *visit) events(w http.ResponseWriter, r *http.Request) {
	updates, cancel, err := v.Lab.Watch(v.Session.ID)
	if err != nil {
		w.Header().Set("Retry-After", "10")
		v.fail(w, r, http.StatusServiceUnavailable, "Too many people watch already.")
		return
	}
	defer cancel()

	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}

	s := &stream{
		visit:   v,
		w:       w,
		control: http.NewResponseController(w),
		since:   since(r),
		page:    pageNumber(r),
	}
	s.run(r.Context(), updates)
}

// since returns the number of the last exchange that a page has.
func since(r *http.Request) uint64 {
	for _, text := range []string{r.Header.Get("Last-Event-ID"), r.URL.Query().Get("since")} {
		if n, err := strconv.ParseUint(text, 10, 64); err == nil {
			return n
		}
	}
	return 0
}

// stream is one reader of events.
type stream struct {
	*visit
	w       http.ResponseWriter
	control *http.ResponseController
	since   uint64
	page    int
	shown   string // the list of the latest requests that was sent last
}

// run sends until the reader, the session or the time of the answer has ended.
func (s *stream) run(ctx context.Context, updates <-chan lab.Update) {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	defer func() {
		_ = s.control.SetWriteDeadline(time.Time{}) // of what else the connection carries, none is ours
	}()

	follow := time.NewTicker(following)
	defer follow.Stop()
	if len(s.Evidence) == 0 {
		follow.Stop()
	}

	if s.send("retry: 1000\n\n") != nil {
		return
	}

	for {
		if err := s.update(ctx); err != nil {
			if errors.Is(err, lab.ErrNoSession) { // its last update may be among those that were drained
				s.end()
			}
			return
		}

		select {
		case <-ctx.Done():
			return
		case <-beat.C:
			if s.send(": the session goes on\n\n") != nil {
				return
			}
		case <-follow.C:
		case u, open := <-updates:
			if u.Ended {
				s.end()
			}
			if !open || u.Ended {
				return // one that was too slow comes back
			}

			pause(ctx, gather)
			drain(updates)
		}
	}
}

// end sends that the session has ended.
func (s *stream) end() {
	_ = s.send("event: ended\ndata: {}\n\n") // the reader may be gone, too
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// drain takes what is waiting: an update reads all of it.
func drain(updates <-chan lab.Update) {
	for range len(updates) {
		<-updates
	}
}

// update sends what has changed since the last update.
func (s *stream) update(ctx context.Context) error {
	h, err := s.hub(ctx, s.Session.ID)
	if err != nil {
		return err
	}

	s.ledger.read()
	var list []change
	var cleared bool
	last := s.since
	h.look(func(b *view) {
		cleared = b.last < s.since || b.run != s.Session.Run
		s.Session.Run = b.run
		list = s.changes(b)
		last = b.last
	})

	if cleared { // the page shows what is no more
		s.since = last
		return s.send(fmt.Sprintf("id: %d\nevent: again\ndata: {}\n\n", last))
	}
	if len(list) == 0 {
		return nil
	}

	data, err := json.Marshal(list)
	if err != nil {
		return err
	}

	s.since = last
	return s.send(fmt.Sprintf("id: %d\nevent: change\ndata: %s\n\n", last, data))
}

// send writes a text within the time that it may take.
func (s *stream) send(text string) error {
	// A connection without deadlines is a test's: then there is none to set.
	_ = s.control.SetWriteDeadline(time.Now().Add(sending))
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.control.Flush()
}

// changes renders each element of a page that is other than since. Without further
// requests, that is the list of the latest ones, once other hops have passed them.
func (s *stream) changes(b *view) []change {
	var out []change
	list := s.render("latest", "latest", s.items(b.named(b.latest)))
	if list.HTML != s.shown {
		s.shown = list.HTML
		out = append(out, list)
	}
	if b.last <= s.since {
		return out
	}

	lanes, pages := b.page(s.page)
	out = append(out, s.render("tally", "tally", newTally(b, pages)))
	if b.hinted > s.since {
		out = append(out, s.render("hints", "hints", s.items(b.named(b.hints))))
	}

	for _, j := range b.joined {
		if j.at > s.since {
			out = append(out, change{ID: j.id})
		}
	}

	for i := len(lanes) - 1; i >= 0; i-- { // the newest last, so that it is on top
		out = append(out, s.laneChanges(lanes[i])...)
	}
	return out
}

func (s *stream) laneChanges(l *lane) []change {
	if l.First > s.since {
		c := s.render(l.ID, "lane", s.laneOf(l))
		c.In = "lanes"
		return []change{c}
	}
	if max(l.Last, l.changed) <= s.since {
		return nil
	}

	lane := s.laneOf(l)
	out := []change{
		s.render(l.ID+"-head", "lane-head", lane),
		s.render(l.ID+"-notes", "notes", lane),
	}

	for _, cell := range lane.Cells {
		if cell.Card != nil && cell.Card.changed > s.since {
			c := s.render(cell.ID, "cell", cell)
			c.In, c.End = l.ID+"-steps", true
			out = append(out, c)
		}
	}

	return out
}

// render returns an element as a part of the templates writes it.
func (s *stream) render(id, part string, data any) change {
	var b bytes.Buffer
	_ = pages.ExecuteTemplate(&b, part, data) // the tests render every part
	return change{
		ID:   id,
		HTML: b.String(),
	}
}

// cell is one step of a lane on the page, with or without a card.
type cell struct {
	ID   string // of its element
	Root string // of the session's pages
	Lane *lane
	Step conform.Step
	Card *card
}

// laneView is a lane on the page.
type laneView struct {
	*lane
	Root  string
	Cells []cell
}

// Notes returns the cards that have something to mend.
func (l laneView) Notes() []*card {
	var out []*card
	for _, c := range l.Cells {
		if c.Card != nil && (c.Card.Tone == look.Bad || c.Card.Tone == look.Warn) {
			out = append(out, c.Card)
		}
	}
	return out
}

func (v *visit) laneOf(l *lane) laneView {
	out := laneView{
		lane: l,
		Root: v.root(),
	}

	for _, step := range append(steps[:len(steps):len(steps)], conform.Other) {
		c := l.Cards[step]
		if c == nil && step == conform.Other {
			continue
		}
		out.Cells = append(out.Cells, cell{
			ID:   l.ID + "-" + string(step),
			Root: out.Root,
			Lane: l,
			Step: step,
			Card: c,
		})
	}

	return out
}
