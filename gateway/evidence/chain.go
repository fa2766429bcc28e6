package evidence

import "time"

// key is what a message is known by between two hops.
type key struct {
	bytes int64
	sum   string
}

func gotKey(l *Line) key  { return key{l.BytesIn, l.SHA256In} }
func sentKey(l *Line) key { return key{l.BytesOut, l.SHA256Out} }

// link is one message's place between the hop at and the next one down the path.
type link struct {
	response bool
	at       int
	key
}

// queue is the parts of equal messages that wait at a link: all of them for their
// sender, or all for their receiver, as two that fit are joined at once.
type queue struct {
	sent  bool // they have been sent, and wait for who got them
	parts []*message
}

// ends returns the links over which a line's hop got and sent its message; false where
// it did not, or where the path ends.
func (c *comparison) ends(hop int, l *Line) (got, sent link, hasGot, hasSent bool) {
	response := l.Dir == "response"
	got, sent = link{response, hop - 1, gotKey(l)}, link{response, hop, sentKey(l)}
	if response {
		got.at, sent.at = hop, hop-1
	}
	within := func(at int) bool { return at >= 0 && at < len(c.hops)-1 }
	hasGot = within(got.at) && (l.BytesIn > 0 || l.BytesOut == 0)
	hasSent = within(sent.at) && (l.BytesOut > 0 || l.BytesIn == 0)
	return got, sent, hasGot, hasSent
}

// take adds a line to the parts on both sides of its hop, and reports the message once
// it is whole.
func (c *comparison) take(hop int, l *Line) {
	m := &message{lines: make([]*Line, len(c.hops))}
	m.lines[hop] = l
	got, sent, hasGot, hasSent := c.ends(hop, l)
	if hasGot {
		m = c.meet(got, false, m)
	}
	if hasSent {
		m = c.meet(sent, true, m)
	}
	if f := c.whole(m); f != nil {
		c.settle(m, f)
		return
	}

	if m.open == 0 {
		c.loose = append(c.loose, m)
	} else if hop == 0 {
		c.aging = append(c.aging, aged{m, c.clock})
	}
}

// meet joins m with the part that waits for it at the link, or lets it wait there.
func (c *comparison) meet(at link, sent bool, m *message) *message {
	q := c.links[at]
	if q == nil {
		q = &queue{sent: sent}
		c.links[at] = q
	}
	if q.sent == sent {
		q.parts = append(q.parts, m)
		m.open++
		return m
	}

	other := c.pop(at)
	other.absorb(m)
	return other
}

// pop takes the earliest part off a link where some wait.
func (c *comparison) pop(at link) *message {
	q := c.links[at]
	m := q.parts[0].root()
	m.open--
	q.parts[0] = nil
	if q.parts = q.parts[1:]; len(q.parts) == 0 {
		delete(c.links, at)
	}
	return m
}

// root is the message that m has become a part of.
func (m *message) root() *message {
	for m.into != nil {
		m = m.into
	}
	return m
}

// absorb makes the lines of o lines of m.
func (m *message) absorb(o *message) {
	for hop, l := range o.lines {
		if l != nil {
			m.lines[hop] = l
		}
	}
	m.open += o.open
	o.lines, o.into = nil, m
}

// whole returns the finding of a message of which no part is missing, else nil.
func (c *comparison) whole(m *message) *Finding {
	if own := m.ownHop(); own >= 0 && c.reaches(m, own) {
		return c.judge(m)
	}

	for _, l := range m.lines {
		if l == nil {
			return nil
		}
	}

	c.spread(m)
	if !m.agrees() {
		return c.judge(m)
	}
	if at := m.tamperedAt(); at >= 0 {
		return m.changedBy(c, Differs, at)
	}
	if at := m.firstAt((*Line).mapped); at >= 0 {
		return m.changedBy(c, Mapped, at)
	}

	return m.finding(c, Identical)
}

// settle reports a message and lets its lines go.
func (c *comparison) settle(m *message, f *Finding) {
	m.lines = nil
	c.report(f)
}

// aged is a part at the originator, and the clock when it was taken.
type aged struct {
	part *message
	at   time.Time
}

// tick moves the clock on.
func (c *comparison) tick(hop int, now time.Time) {
	c.heard[hop] = true
	if now.After(c.clock) {
		c.clock = now
	}
}

// age settles what can only be straight: both ends have had it
// for longer than the lines of a message lie apart, and nobody between has. Until every
// hop has been heard nobody knows how far apart its clock is, and nothing is settled.
func (c *comparison) age() {
	for len(c.aging) > 0 && c.clock.Sub(c.aging[0].at) > c.window && c.allHeard() {
		m := c.aging[0].part.root()
		c.aging[0].part = nil
		c.aging = c.aging[1:]
		if m.lines != nil && m.open > 0 {
			c.settleStraight(m)
		}
	}
}

func (c *comparison) allHeard() bool {
	for i, heard := range c.heard {
		if !heard && c.hops[i].next != nil {
			return false
		}
	}
	return true
}

// spread widens the window to what the clocks of the hops show.
func (c *comparison) spread(m *message) {
	low, high := m.first().Time, m.first().Time
	for _, l := range m.lines {
		if l.Time.Before(low) {
			low = l.Time
		}
		if l.Time.After(high) {
			high = l.Time
		}
	}
	c.window = max(c.window, 2*high.Sub(low))
}

// settleStraight pairs the earliest part that equals m, which the originator alone has,
// with an equal one that waits at the destination, where there is one.
func (c *comparison) settleStraight(m *message) {
	last, l := len(c.hops)-1, m.lines[0]
	if last < 2 || l == nil {
		return
	}

	request := l.Dir == "request"
	near, far := link{!request, 0, sentKey(l)}, link{!request, last - 1, sentKey(l)}
	a, b := c.links[near], c.links[far]
	if a == nil || b == nil || a.sent != request || b.sent == request {
		return // it has gone on from the originator, or is not at the destination
	}
	if a.parts[0].root().tamperedAt() >= 0 || b.parts[0].root().tamperedAt() >= 0 {
		return
	}

	m = c.pop(near)
	m.absorb(c.pop(far))
	c.settle(m, m.finding(c, Straight))
}
