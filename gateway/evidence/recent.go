package evidence

import (
	"fmt"
	"time"
)

// recent holds exchanges that are whole until so many others have come that one equal to
// them would have, too: equal ones cannot be told apart, and so prove nothing about
// connections and order.
type recent struct {
	chains []*chain // of which the first looked ones have been examined
	keys   []linkKey
	looked int
	counts map[linkKey]int
}

// recentMany is how many exchanges before and after one are looked at.
const recentMany = 4096

// settle examines an exchange of which no part is missing, once it is known whether it is
// the only one of its kind.
func (c *comparison) settle(ch *chain) {
	r := &c.recent
	k := ch.first().key(func(e *entry) (request, answer key) {
		return e.out, e.in
	})
	r.counts[k]++
	r.chains, r.keys = append(r.chains, ch), append(r.keys, k)
	if len(r.chains)-r.looked > recentMany {
		c.lookAtNext()
	}
	if r.looked > recentMany {
		if r.counts[r.keys[0]]--; r.counts[r.keys[0]] == 0 {
			delete(r.counts, r.keys[0])
		}
		r.chains[0] = nil
		r.chains, r.keys = r.chains[1:], r.keys[1:]
		r.looked--
	}
}

// lookAtNext examines the earliest exchange that has not been.
func (c *comparison) lookAtNext() {
	r := &c.recent
	ch := r.chains[r.looked]
	fs := rules{c}.compareExchange(ch)
	rules{c}.holdToRules(fs)

	held := false
	if r.counts[r.keys[r.looked]] == 1 {
		rules{c}.holdTimes(fs)
		c.holdOrder(fs)
		held = c.holdClocks(fs)
	}

	if !held {
		c.reportAll(fs)
	}

	r.chains[r.looked] = &chain{} // it is looked at no more
	r.looked++
}

// lookAtAll examines what is left, and settles which clocks are wrong.
func (c *comparison) lookAtAll() {
	for c.recent.looked < len(c.recent.chains) {
		c.lookAtNext()
	}
	for hop := range c.clocks {
		c.clocks[hop].end(c, hop)
	}
}

func (c *comparison) reportAll(fs *findings) {
	for _, f := range fs.all {
		c.report(f)
	}
}

// holdOrder compares the connections of an exchange: one that a hop opens to the next
// belongs to one connection of the hop before, and carries exchanges in the order in
// which that did. The ends are compared, too, whatever the hops between have written.
func (c *comparison) holdOrder(fs *findings) {
	at := fs.chain.at
	for hop := 1; hop < len(at); hop++ {
		if at[hop-1] != nil && at[hop] != nil {
			c.bind(fs, at[hop-1], at[hop], 0)
		}
	}

	last := len(at) - 1
	if at[0] == nil || at[last] == nil || last < 2 {
		return
	}

	c.bind(fs, at[0], at[last], 1)

	straight := fs.chain.straight()
	for _, k := range []*conn{at[0].conn, at[last].conn} {
		k.straight = k.straight || straight
		k.through = k.through || !straight
	}

	if at[0].conn.straight && at[0].conn.through || at[last].conn.straight && at[last].conn.through {
		rules{c}.blame(fs, false, 1,
			fmt.Sprintf("of a connection that passed %s only some exchanges are known there",
				c.hops[1]))
	}
}

// bind compares one pair of connections with what their earlier exchanges had.
func (c *comparison) bind(fs *findings, near, far *exchange, which int) {
	b := &far.conn.up[which]
	name := c.hops[far.hop]
	switch {
	case near.seq == 0 || far.seq == 0: // lines without numbers
	case b.conn == nil || b.conn == near.conn && near.seq > b.seq && far.seq > b.own:
		*b = binding{near.conn, near.seq, far.seq}
	case b.conn == near.conn && near.seq < b.seq && far.seq < b.own: // one that was whole later
	case b.conn != near.conn:
		rules{c}.blame(fs, false, far.hop,
			fmt.Sprintf("connection %s of %s has exchanges of two connections of %s, %s and %s",
				far.conn.id, name, c.hops[near.hop], b.conn.id, near.conn.id))

	default:
		rules{c}.blame(fs, false, far.hop,
			fmt.Sprintf("requests %d and %d of connection %s changed places: %s has them as %d and %d",
				min(b.seq,
					near.seq), max(b.seq,
					near.seq), near.conn.id, name, min(b.own, far.seq), max(b.own, far.seq)))
	}
}

// clock is what exchanges show of how far a hop's clock is ahead of the originator's.
type clock struct {
	settings []*setting
	latest   *setting
}

// setting is one way in which a clock was set: a hop's clock may be corrected, once in a
// while. One that very few exchanges agree on is rather their time that is wrong.
type setting struct {
	low, high time.Duration
	many      int
	held      []*findings // of the first few
}

// How far a clock may drift between exchanges, how many exchanges prove that it was
// corrected, and how often it is at most.
const (
	driftAtMost  = 2 * time.Minute
	enoughToSet  = 3
	mostSettings = 1000
)

// holdClocks compares the times of an exchange at each hop with those of others: a hop
// received the request after the originator had sent it, and sent the answer before the
// originator had it. It reports whether the findings have to wait for more exchanges.
func (c *comparison) holdClocks(fs *findings) bool {
	near := fs.chain.at[0]
	if near == nil || near.request == nil || near.final() == nil {
		return false
	}

	for hop := 1; hop < len(c.hops); hop++ {
		x := fs.chain.at[hop]
		if x == nil || x.request == nil || x.final() == nil {
			continue
		}

		low, high := x.final().time.Sub(near.final().time), x.request.time.Sub(near.request.time)
		if s := c.clocks[hop].set(min(low, high), max(low, high)); s == nil {
			rules{c}.blame(fs, false, hop, c.hops[hop]+
				" has it at another time than all other exchanges")
		} else if s.many <= enoughToSet {
			s.held = append(s.held, fs)
			fs.waits++
		}
	}

	for hop := range c.clocks {
		c.clocks[hop].release(c)
	}

	return fs.waits > 0
}

// set returns the setting that fits, or a new one; nil when there are too many.
func (k *clock) set(low, high time.Duration) *setting {
	fits := func(s *setting) bool {
		return low-driftAtMost <= s.high && high+driftAtMost >= s.low
	}
	s := k.latest
	if s == nil || !fits(s) {
		s = nil
		for _, o := range k.settings {
			if fits(o) {
				s = o
			}
		}
	}

	switch {
	case s == nil && len(k.settings) == mostSettings:
		return nil
	case s == nil:
		s = &setting{
			low:  low,
			high: high,
		}
		k.settings = append(k.settings, s)
	default:
		s.low, s.high = clamp(s.low, low, high), clamp(s.high, low, high)
	}

	s.many++
	k.latest = s
	return s
}

func clamp(d, low, high time.Duration) time.Duration {
	return max(low, min(d, high))
}

// release reports what was held for a setting that enough exchanges agree on.
func (k *clock) release(c *comparison) {
	if s := k.latest; s != nil && s.many > enoughToSet && len(s.held) > 0 {
		s.free(c)
	}
}

// free reports what waited for the setting, and for no other one.
func (s *setting) free(c *comparison) {
	for _, fs := range s.held {
		if fs.waits--; fs.waits == 0 {
			c.reportAll(fs)
		}
	}
	s.held = nil
}

// end reports what is still held: as differing where more exchanges agree on another
// setting, or as many did before.
func (k *clock) end(c *comparison, hop int) {
	var most *setting
	for _, s := range k.settings {
		if most == nil || s.many > most.many {
			most = s
		}
	}

	for _, s := range k.settings {
		for _, fs := range s.held {
			if s != most {
				rules{c}.blame(fs, false, hop,
					c.hops[hop]+" has it at another time, by its own clock, than other exchanges")
			}
		}

		s.free(c)
	}
}
