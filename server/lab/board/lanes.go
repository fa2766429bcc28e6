package board

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/look"
)

// steps are the cards of a lane, in the order in which a client makes them.
var steps = []conform.Step{
	conform.Discover,
	conform.Register,
	conform.Authorize,
	conform.Token,
	conform.Read,
	conform.Refresh,
	conform.Cancel,
}

// Bounds of what is shown of a session.
const (
	maxLanes  = 400 // of a session; the requests of further clients share a lane
	pageLanes = 60  // on one page
	latest    = 12  // requests in the list of the latest
	maxHints  = 20  // requests that could not be attributed
)

// crowd is the lane of the clients beyond maxLanes.
const crowd = "further clients"

// card is one step of one client, with all requests for it.
type card struct {
	Step   conform.Step
	Tone   look.Tone // of the last request
	Why    string    // of the last request
	Status int
	Last   uint64 // number of the last request
	At     time.Time
	Count  int
	Of     map[look.Tone]int

	changed uint64 // number of the request that changed it last, for those that come back
}

// Before returns how the earlier requests for the step went, where that differs from
// the last one.
func (c *card) Before() string {
	var parts []string
	for _, tone := range []look.Tone{look.Good, look.Warn, look.Bad} {
		n := c.Of[tone]
		if tone == c.Tone {
			n = 0
		}
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, words[tone]))
		}
	}

	return strings.Join(parts, ", ")
}

// words are how many requests went.
var words = map[look.Tone]string{
	look.Good: "OK",
	look.Warn: "with a warning",
	look.Bad:  "refused or broken",
}

// lane is one client.
type lane struct {
	ID        string // of its element: "l" and the number of its first request
	Key       string // as the assessment has it
	Name      string
	About     string
	First     uint64
	Last      uint64
	FirstSeen time.Time
	LastSeen  time.Time
	Count     int
	Of        map[look.Tone]int
	Cards     map[conform.Step]*card
	Furthest  conform.Step // the last step of the order that was granted

	changed uint64
}

// item is one line of the list of the latest requests.
type item struct {
	N      uint64
	At     time.Time
	Lane   string
	LaneID string
	Key    string // of its lane, as the assessment has it
	Step   conform.Step
	Method string
	Target string
	Status int
	Tone   look.Tone
	Why    string
	Fault  string
	Hint   string

	request, answer string // their digests
}

// view is the state of one board. It holds no message, and its size is bounded.
type view struct {
	run    int    // of the session
	last   uint64 // number of the last request that it has
	lanes  map[string]*lane
	order  []*lane // the one that came first first
	of     map[look.Tone]int
	count  int
	latest []item // newest first
	hints  []item // requests that could not be attributed, newest first
	joined map[string]joint
	hinted uint64 // number of the last request in hints
}

// joint is a lane that became part of another.
type joint struct {
	into string
	id   string // element that is no more
	at   uint64
}

func newView() *view {
	return &view{
		lanes:  map[string]*lane{},
		of:     map[look.Tone]int{},
		joined: map[string]joint{},
	}
}

// add counts one exchange in. Those that the view has already are passed over.
func (v *view) add(e *entry) {
	x := e.Exchange
	if x.N <= v.last {
		return
	}

	v.last = x.N
	v.count++
	v.of[e.Tone]++

	it := newItem(e)
	if e.Hint != "" {
		v.hints = prepend(v.hints, it, maxHints)
		v.hinted = x.N
	}
	v.laneOf(e).add(e)

	v.latest = prepend(v.latest, it, latest)
}

func newItem(e *entry) item {
	x := e.Exchange
	return item{
		N:      x.N,
		At:     x.Received,
		Key:    e.Assessment.Lane,
		Step:   e.Step,
		Method: shorten(x.Method, 16),
		Target: shorten(x.Target, 300),
		Status: x.Status,
		Tone:   e.Tone,
		Why:    shorten(e.Assessment.Text, 400),
		Fault:  x.Fault,
		Hint:   shorten(e.Hint, 400),

		request: x.Request.SHA256,
		answer:  x.Answer.SHA256,
	}
}

// laneOf returns the lane of an exchange's client, which may be new or known by
// another key until now.
func (v *view) laneOf(e *entry) *lane {
	for _, old := range e.Assessment.Joined {
		v.join(old, e)
	}

	key := e.Assessment.Lane
	l := v.lanes[key]
	if l == nil && len(v.lanes) >= maxLanes {
		key = crowd
		l = v.lanes[key]
	}
	if l != nil {
		return l
	}

	l = &lane{
		ID:        "l" + strconv.FormatUint(e.Exchange.N, 10),
		Key:       key,
		First:     e.Exchange.N,
		FirstSeen: e.Exchange.Received,
		Of:        map[look.Tone]int{},
		Cards:     map[conform.Step]*card{},
	}
	v.lanes[key] = l

	v.order = append(v.order, l)

	return l
}

// join moves what is in an old lane to that of an exchange.
func (v *view) join(old string, e *entry) {
	from := v.lanes[old]
	if from == nil || old == e.Assessment.Lane {
		return
	}

	delete(v.lanes, old)
	into := v.lanes[e.Assessment.Lane]
	if into == nil {
		from.Key = e.Assessment.Lane
		from.changed = e.Exchange.N
		v.lanes[e.Assessment.Lane] = from
		v.note(old, joint{into: e.Assessment.Lane})
		return
	}

	v.order = slices.DeleteFunc(v.order, func(l *lane) bool {
		return l == from
	})
	v.note(old, joint{
		into: e.Assessment.Lane,
		id:   from.ID,
		at:   e.Exchange.N,
	})

	into.merge(from, e.Exchange.N)
}

// note remembers that a lane has become part of another.
func (v *view) note(old string, j joint) {
	if len(v.joined) < maxLanes {
		v.joined[old] = j
	}
}

// now returns the key of the lane that a lane has become part of, or its own.
func (v *view) now(key string) string {
	for range maxLanes {
		j, ok := v.joined[key]
		if !ok {
			break
		}
		key = j.into
	}
	return key
}

// named returns a copy of a list with the names that its lanes have now.
func (v *view) named(list []item) []item {
	list = slices.Clone(list)
	for i, it := range list {
		l := v.lanes[v.now(it.Key)]
		if l == nil {
			l = v.lanes[crowd]
		}
		if l != nil {
			list[i].Lane, list[i].LaneID = l.Name, l.ID
		}
	}
	return list
}

// merge adds the cards of another lane.
func (l *lane) merge(from *lane, now uint64) {
	l.Count += from.Count
	l.changed = now
	if from.FirstSeen.Before(l.FirstSeen) {
		l.FirstSeen = from.FirstSeen
	}
	for tone, n := range from.Of {
		l.Of[tone] += n
	}

	for step, other := range from.Cards {
		c := l.Cards[step]
		if c == nil {
			other.changed = now
			l.Cards[step] = other
			continue
		}

		if other.Last > c.Last {
			c, other = other, c
			l.Cards[step] = c
		}
		c.Count += other.Count
		c.changed = now
		for tone, n := range other.Of {
			c.Of[tone] += n
		}
	}

	l.measure()
}

// add counts one exchange of the lane's client in.
func (l *lane) add(e *entry) {
	x := e.Exchange
	l.describe(e)
	l.Last, l.LastSeen = x.N, x.Received
	l.Count++
	l.Of[e.Tone]++

	step := e.Step
	if !slices.Contains(steps, step) {
		step = conform.Other
	}
	c := l.Cards[step]
	if c == nil {
		c = &card{
			Step: step,
			Of:   map[look.Tone]int{},
		}
		l.Cards[step] = c
	}

	c.add(e)
	l.measure()
}

// describe takes over what an exchange has about its client.
func (l *lane) describe(e *entry) {
	if l.Key == crowd {
		l.Name = crowd
		return
	}

	known := e.Assessment.Client
	name, about := shorten(known.Name, 120), string(known.Community)
	if uri := string(known.URI); uri != "" && uri != known.Name {
		about = uri
	}
	about = shorten(about, 200)

	if l.Name != name || l.About != about {
		l.Name, l.About = name, about
		l.changed = e.Exchange.N
	}
}

// add makes an exchange the card's last.
func (c *card) add(e *entry) {
	x := e.Exchange
	c.Tone = e.Tone
	c.Why = shorten(e.Assessment.Text, 400)
	c.Status = x.Status
	c.Last, c.At = x.N, x.Received
	c.changed = x.N
	c.Count++
	c.Of[e.Tone]++
}

// measure notes how far the client got.
func (l *lane) measure() {
	l.Furthest = ""
	for _, step := range steps {
		if c := l.Cards[step]; c != nil && c.Of[look.Good]+c.Of[look.Warn] > 0 {
			l.Furthest = step
		}
	}
}

func prepend(list []item, it item, most int) []item {
	list = slices.Insert(list, 0, it)
	return list[:min(len(list), most)]
}

// page returns the lanes of a page, from 0, the newest client first, and how many
// pages there are.
func (v *view) page(n int) (lanes []*lane, pages int) {
	pages = max(1, (len(v.order)+pageLanes-1)/pageLanes)
	n = min(max(n, 0), pages-1)
	end := len(v.order) - n*pageLanes
	start := max(0, end-pageLanes)
	lanes = slices.Clone(v.order[start:end])
	slices.Reverse(lanes)

	return lanes, pages
}

// shorten cuts a text of a client's, never within a character.
func shorten(s string, most int) string {
	n := 0
	for i := range s {
		if n++; n > most {
			return s[:i] + "…"
		}
	}
	return s
}
