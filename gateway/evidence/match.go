package evidence

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// linkKey identifies an exchange on the wire between two hops: the bytes of its request
// and of its answers.
type linkKey [sha256.Size]byte

// link is a place where an exchange may meet its other part: the wire between the hop at
// and the next one down the path.
type link struct {
	at int
	linkKey
}

// queue holds the parts of equal exchanges that wait at a link: all of them for the hop
// after, or all for the hop before, as two that fit are joined at once.
type queue struct {
	upper bool // the parts are of the hop before
	parts []*chain
}

// chain is one exchange along the path.
type chain struct {
	at   []*exchange // by hop; nil where a hop has none
	into *chain      // what it has become a part of
	open int         // links at which it waits
}

// up returns the link over which x came, and whether it came over one.
func (c *comparison) up(x *exchange) (link, bool) {
	if x.hop == 0 || x.request != nil && x.request.in.bytes == 0 && x.request.out.bytes > 0 {
		return link{}, false
	}
	return link{x.hop - 1, x.key(func(e *entry) (received, sent key) {
		return e.in, e.out
	})}, true
}

// down returns the link over which x went on, and whether it did.
func (c *comparison) down(x *exchange) (link, bool) {
	if x.hop == len(c.hops)-1 || x.ended() {
		return link{}, false
	}
	return link{x.hop, x.key(func(e *entry) (received, sent key) {
		return e.out, e.in
	})}, true
}

// key digests what one wire of the hop carried: side returns, of a request, what is on
// that wire first, and of an answer second.
func (x *exchange) key(side func(*entry) (request, answer key)) (out linkKey) {
	h := sha256.New()
	add := func(k key) {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], uint64(k.bytes))
		h.Write(b[:])
		h.Write(k.sum[:])
	}

	request := key{}
	if x.request != nil {
		request, _ = side(x.request)
	}
	add(request)

	for _, a := range x.answers {
		if _, k := side(a); k.bytes > 0 {
			add(k)
		}
	}

	h.Sum(out[:0])
	return out
}

// place joins x with the parts that wait for it on both sides, and settles the exchange
// once no part of it is missing.
func (c *comparison) place(x *exchange) {
	ch := &chain{at: make([]*exchange, len(c.hops))}
	ch.at[x.hop] = x
	up, hasUp := c.up(x)
	down, hasDown := c.down(x)
	if hasUp {
		ch = c.meet(up, false, ch)
	}
	if hasDown {
		ch = c.meet(down, true, ch)
	}

	switch {
	case ch.whole() && !ch.dropped():
		c.tune(ch)
		c.settle(ch)
	case ch.open == 0:
		c.loose = append(c.loose, ch)
	case x.hop == 0 && len(c.hops) > 2:
		c.aging = append(c.aging, ch)
	}
}

// meet joins ch with the part that waits for it at the link, or lets it wait there.
func (c *comparison) meet(at link, upper bool, ch *chain) *chain {
	q := c.links[at]
	if q == nil {
		q = &queue{upper: upper}
		c.links[at] = q
	}
	if q.upper == upper {
		q.parts = append(q.parts, ch)
		ch.open++
		return ch
	}

	other := c.pop(at, q.prefer(ch, at.at))
	other.absorb(ch)
	return other
}

// prefer returns the place in the queue of the part that ch is joined with: the earliest
// on the connection to which ch's is bound, or else the earliest of all.
func (q *queue) prefer(ch *chain, at int) int {
	for i, p := range q.parts[:min(len(q.parts), preferTries)] {
		a, b := p.root().at[at], ch.at[at+1]
		if !q.upper {
			a, b = ch.at[at], p.root().at[at+1]
		}
		if b.conn.up[0].conn == a.conn {
			return i
		}
	}

	return 0
}

// preferTries bounds how many equal parts are looked at.
const preferTries = 64

// pop takes a part off a link.
func (c *comparison) pop(at link, i int) *chain {
	q := c.links[at]
	ch := q.parts[i].root()
	ch.open--
	copy(q.parts[1:i+1], q.parts[:i])
	q.parts[0] = nil
	if q.parts = q.parts[1:]; len(q.parts) == 0 {
		delete(c.links, at)
	}

	return ch
}

// root returns the chain that ch has become a part of.
func (ch *chain) root() *chain {
	for ch.into != nil {
		ch = ch.into
	}
	return ch
}

// absorb makes the exchanges of o exchanges of ch.
func (ch *chain) absorb(o *chain) {
	for hop, x := range o.at {
		if x != nil {
			ch.at[hop] = x
		}
	}
	ch.open += o.open
	o.at = nil
	o.into = ch
}

// whole reports whether no part is missing: every hop has the exchange, up to the last
// one or to one that passed nothing on.
func (ch *chain) whole() bool {
	for _, x := range ch.at {
		if x == nil {
			return false
		}
		if x.ended() {
			return true
		}
	}

	return true
}

// dropped reports whether a hop ended the request and gave no answer.
func (ch *chain) dropped() bool {
	_, last := ch.span()
	return ch.at[last].ended() && ch.at[last].final() == nil
}

// span returns the first and last hop that has the exchange.
func (ch *chain) span() (first, last int) {
	first = -1
	for hop, x := range ch.at {
		if x != nil {
			if first < 0 {
				first = hop
			}
			last = hop
		}
	}

	return first, last
}

// first returns the exchange at the hop nearest to the originator.
func (ch *chain) first() *exchange {
	i, _ := ch.span()
	return ch.at[i]
}

// straight reports whether the two ends alone have the exchange, and more hops than
// these are compared.
func (ch *chain) straight() bool {
	for hop, x := range ch.at {
		if (x != nil) != (hop == 0 || hop == len(ch.at)-1) {
			return false
		}
	}
	return len(ch.at) > 2
}

// straightAfter is how long after an exchange at the originator it is known that no hop
// between has it, by clocks that have been compared.
const straightAfter = 2 * time.Minute

// age settles exchanges that can only be straight: both ends have had them for so long
// that the hops between would have, too.
func (c *comparison) age() {
	for len(c.aging) > 0 {
		ch := c.aging[0].root()
		if ch.at != nil && ch.open > 0 && ch.at[0] != nil {
			if !c.passed(ch.at[0]) {
				return
			}
			c.pairStraight(ch)
		}

		c.aging[0] = nil
		c.aging = c.aging[1:]
	}
}

// passed reports whether every file has been read beyond the exchange.
func (c *comparison) passed(x *exchange) bool {
	until := x.source.corrected(x.time()).Add(straightAfter)
	for _, s := range c.sources {
		if s.next != nil && (!s.tuned || s.corrected(s.next.Time).Before(until)) {
			return false
		}
	}
	return true
}

// pairStraight pairs an exchange that the originator alone has with an equal one that
// waits at the destination, where there is one.
func (c *comparison) pairStraight(ch *chain) {
	last := len(c.hops) - 1
	near, ok := c.down(ch.at[0])
	if _, reached := ch.span(); !ok || reached > 0 {
		return
	}

	far := link{last - 1, near.linkKey}
	a, b := c.links[near], c.links[far]
	if a == nil || b == nil || !a.upper || b.upper {
		return
	}

	for i, p := range a.parts {
		if p.root() == ch {
			c.pop(near, i)
			ch.absorb(c.pop(far, 0))
			c.settle(ch)
			return
		}
	}
}
