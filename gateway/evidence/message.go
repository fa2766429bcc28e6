package evidence

import (
	"cmp"
	"encoding/hex"
	"fmt"
)

// message is one message of an exchange along the path.
type message struct {
	chain   *chain
	entries []*entry // by hop; nil where a hop has none
}

// messages returns the messages of an exchange: the request, where there is one, and the
// answers.
func (ch *chain) messages() (all []*message) {
	request := &message{ch, make([]*entry, len(ch.at))}
	some := false
	for hop, x := range ch.at {
		if x != nil && x.request != nil {
			request.entries[hop] = x.request
			some = true
		}
	}

	if some {
		all = append(all, request)
	}

	return append(all, ch.answers()...)
}

// answers returns the answers, from the destination on: each hop's are put to those that
// the hop behind it sent.
func (ch *chain) answers() (all []*message) {
	var sent []*message // of the hop behind, not yet received
	for hop := len(ch.at) - 1; hop >= 0; hop-- {
		x := ch.at[hop]
		if x == nil {
			continue // what was sent may have been received by the hop before
		}

		var next []*message
		for _, e := range x.answers {
			var m *message
			if e.in.bytes > 0 || e.out.bytes == 0 {
				m, sent = receive(sent, e, hop)
			}
			if m == nil {
				m = &message{ch, make([]*entry, len(ch.at))}
				all = append(all, m)
			}

			m.entries[hop] = e
			if e.out.bytes > 0 {
				next = append(next, m)
			}
		}

		sent = next
	}

	return all
}

// receive returns which of the messages that the hop behind sent e is: the one of the same
// bytes, or else the next of the same kind; nil when it is none.
func receive(sent []*message, e *entry, hop int) (*message, []*message) {
	at := -1
	for i, m := range sent {
		last := m.sender(hop)
		if last.out == e.in {
			at = i
			break
		}
		if at < 0 && last.final() == e.final() {
			at = i
		}
	}

	if at < 0 {
		return nil, sent
	}
	return sent[at], append(sent[:at:at], sent[at+1:]...)
}

// sender returns the entry of the nearest hop behind that one.
func (m *message) sender(hop int) *entry {
	for i := hop + 1; i < len(m.entries); i++ {
		if m.entries[i] != nil {
			return m.entries[i]
		}
	}
	return nil
}

// first returns the entry of the hop nearest to the originator.
func (m *message) first() *entry {
	for _, e := range m.entries {
		if e != nil {
			return e
		}
	}
	return nil
}

// along calls visit with the hops in the direction of the message, until it returns false.
func (m *message) along(visit func(hop int, e *entry) bool) {
	for i := range m.entries {
		hop := i
		if m.first().response {
			hop = len(m.entries) - 1 - i
		}
		if !visit(hop, m.entries[hop]) {
			return
		}
	}
}

// ownHop returns the hop that made or ended the message by itself, or -1.
func (m *message) ownHop() int {
	for hop, e := range m.entries {
		if e != nil && e.own() {
			return hop
		}
	}
	return -1
}

// reaches reports whether every hop between the originator and own has the message, and
// none beyond.
func (m *message) reaches(own int) bool {
	for hop, e := range m.entries {
		if (e != nil) != (hop <= own) {
			return false
		}
	}
	return true
}

// finding describes the message, as the first hop in its direction that has it.
func (m *message) finding(c *comparison) *Finding {
	at := -1
	m.along(func(hop int, e *entry) bool {
		at = hop
		return e == nil
	})
	e, x := m.entries[at], m.chain.at[at]
	f := &Finding{
		Time:   e.time,
		Dir:    "request",
		Method: e.method,
		Status: e.status,
		Bytes:  e.in.bytes,
		SHA256: e.in.text(),
		Conn:   x.conn.id,
		Seq:    x.seq,
	}

	if e.response {
		f.Dir = "response"
	}
	if e.in.bytes == 0 {
		f.Bytes, f.SHA256 = e.out.bytes, e.out.text()
	}

	for hop, e := range m.entries {
		if e != nil {
			x := m.chain.at[hop]
			f.Address = cmp.Or(e.address, f.Address)
			f.Places = append(f.Places, Place{
				Index: hop,
				Hop:   x.source.name,
				Conn:  x.conn.id,
				Seq:   x.seq,
			})
		}
	}

	return f
}

func (k key) text() string {
	if k.bytes == 0 {
		return ""
	}
	return hex.EncodeToString(k.sum[:])
}

func (k key) short() string {
	if k.bytes == 0 {
		return "nothing"
	}
	return fmt.Sprintf("%d bytes %.12s", k.bytes, k.text())
}

// compareMessage compares what the hops have of a message, in its direction.
func (c *comparison) compareMessage(m *message) *Finding {
	f := m.finding(c)
	if text, hop := c.disagreement(m); text != "" {
		return c.differ(f, hop, text)
	}
	if own := m.ownHop(); own >= 0 && m.reaches(own) {
		f.Verdict, f.Hop, f.Text = Answered, c.hops[own], "ended or answered there by the hop itself"
		return f
	}
	if m.chain.straight() && (len(c.required) == 0 || m.chain.at[0].straight()) {
		f.Verdict = Straight
		return f
	}

	f.Verdict = Identical
	var before *entry
	name := ""
	m.along(func(hop int, e *entry) bool {
		at := c.hops[hop]
		switch {
		case e == nil:
			c.differ(f, hop, at+" has no such message")
		case before != nil && before.out != e.in:
			c.differ(f, hop,
				fmt.Sprintf("%s sent %s, %s received %s%s", name, before.out.short(), at, e.in.short(),
					c.misplaced(e)))
		case e.changed() && !e.mapped:
			c.differ(
				f,
				hop,
				fmt.Sprintf("%s received %s and sent %s", at, e.in.short(), e.out.short()),
			)
			f.Wire = c.wire(f, hop+1)
			if f.Dir == "response" {
				f.Wire = c.wire(f, hop-1)
			}

		default:
			if e.changed() && f.Verdict == Identical {
				f.Verdict = Mapped
				f.Hop = at
				f.Text = fmt.Sprintf(
					"%s received %s and sent %s",
					at,
					e.in.short(),
					e.out.short(),
				)
			}
			before = e
			name = at

			return true
		}

		return false
	})

	return f
}

// misplaced names the request to which the destination sent an answer that went to another.
func (c *comparison) misplaced(e *entry) string {
	p, ok := c.sent[e.in]
	if !e.response || !ok {
		return ""
	}
	return fmt.Sprintf(
		", which %s sent to another request (conn %s, seq %d)",
		p.Hop,
		p.Conn,
		p.Seq,
	)
}

// straight reports whether the originator has sent the request past the hops between.
func (x *exchange) straight() bool {
	return x.request != nil && x.request.straight
}

// differ makes the finding one of a difference at a hop, on the wire over which it came.
func (c *comparison) differ(f *Finding, hop int, text string) *Finding {
	f.Verdict, f.Hop, f.Text, f.Wire = Differs, c.hops[hop], text, c.wire(f, hop)
	return f
}

// wire returns the wire over which a message came to a hop, or the nearest one.
func (c *comparison) wire(f *Finding, hop int) int {
	if f.Dir == "response" {
		hop++
	}
	return max(1, min(hop, len(c.hops)-1))
}

// disagreement returns what a hop has of the same bytes that others have otherwise, and
// the hop. A hop that passed a message has read it, and so has its method or status.
func (c *comparison) disagreement(m *message) (text string, at int) {
	var read *entry
	name := ""
	m.along(func(hop int, e *entry) bool {
		switch {
		case e == nil:
			return true
		case e.mute():
			if !c.end(hop) && e.in.bytes > 0 && e.out.bytes > 0 {
				text, at = fmt.Sprintf("%s passed a message of which it has %s", c.hops[hop],
					e.attribute()), hop
			}

		case read != nil && (read.status != e.status || !e.response && read.method != e.method):
			text, at = fmt.Sprintf("of the same message %s has %s, %s has %s", name, read.attribute(),
				c.hops[hop],
				e.attribute()), hop
		default:
			read, name = e, c.hops[hop]
		}

		return text == ""
	})

	return text, at
}

// end reports whether a hop is an end of the path, which receives or sends only.
func (c *comparison) end(hop int) bool {
	return c.hops[hop] == originator || c.hops[hop] == destination
}

func (e *entry) attribute() string {
	if e.response && e.method != "" {
		return fmt.Sprintf("status %d", e.status)
	}
	return fmt.Sprintf("method %q", e.method)
}
