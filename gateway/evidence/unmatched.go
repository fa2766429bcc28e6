package evidence

import (
	"fmt"
	"slices"
	"time"
)

// leftOver judges what did not come together by itself: first what is equal on both sides
// of hops that do not have it, then what has something in common.
func (c *comparison) leftOver() error {
	c.finish()
	c.aging = nil
	var rest []*chain

	for _, ch := range join(c.parts(), c.equal()) {
		if ch.whole() && !ch.dropped() || ch.straight() {
			c.settle(ch)
			continue
		}
		rest = append(rest, ch)
	}

	c.lookAtAll()

	if len(rest) == 0 {
		return nil
	}

	rest = join(join(join(rest, sameRequest{c}), sameAnswer{}), &alike{})
	if err := c.findRetries(rest); err != nil {
		return err
	}

	c.findSent(rest)
	slices.SortStableFunc(rest, func(a, b *chain) int {
		return a.time().Compare(b.time())
	})

	for _, ch := range rest {
		fs := rules{c}.compareExchange(ch)
		rules{c}.excuse(fs)
		rules{c}.holdToRules(fs)
		rules{c}.holdTimes(fs)
		c.reportAll(fs)
	}

	return nil
}

// finish places the exchanges that will not be whole: that were never answered, or of
// which there is no request.
func (c *comparison) finish() {
	var open []*exchange
	for _, s := range c.sources {
		for _, k := range s.conns {
			open = append(open, k.open...)
		}
	}

	slices.SortFunc(open, func(a, b *exchange) int {
		return a.corrected().Compare(b.corrected())
	})

	for _, x := range open {
		c.place(x)
	}
}

// corrected returns when the exchange began, by the first source's clock.
func (x *exchange) corrected() time.Time {
	return x.source.corrected(x.time())
}

// time returns when the exchange began at its first hop.
func (ch *chain) time() time.Time {
	return ch.first().corrected()
}

// parts empties the links, and returns the parts.
func (c *comparison) parts() (parts []*chain) {
	seen := map[*chain]bool{}
	add := func(ch *chain) {
		if ch = ch.root(); ch.at != nil && !seen[ch] {
			seen[ch] = true
			parts = append(parts, ch)
		}
	}

	for _, ch := range c.loose {
		add(ch)
	}

	for _, q := range c.links {
		for _, ch := range q.parts {
			add(ch)
		}
	}

	c.loose, c.links = nil, map[link]*queue{}
	return parts
}

// joiner returns by what a part may be joined with one that comes after it down the path:
// equal values belong together. Nil joins with nothing.
type joiner interface {
	tail(ch *chain) any         // of the part before
	head(ch *chain) any         // of the part after
	better(a, b, o *chain) bool // reports whether b belongs to a rather than o does
}

// join joins the parts of which the one before has the tail that the other has as its
// head, from the originator on; of several the better or else the earlier one.
func join(parts []*chain, by joiner) (out []*chain) {
	slices.SortStableFunc(parts, func(a, b *chain) int {
		i, _ := a.span()
		j, _ := b.span()
		if i != j {
			return i - j
		}

		return a.time().Compare(b.time())
	})

	heads := map[any][]*chain{}
	for _, ch := range parts {
		if k := by.head(ch); k != nil {
			heads[k] = append(heads[k], ch)
		}
	}

	for _, ch := range parts {
		if ch.into != nil {
			continue
		}

		for {
			k := by.tail(ch)
			if k == nil {
				break
			}

			next := choose(ch, heads, k, by)
			if next == nil {
				break
			}

			next.open = 0
			ch.absorb(next)
		}

		out = append(out, ch)
	}

	return slices.DeleteFunc(out, func(ch *chain) bool {
		return ch.into != nil
	})
}

// joinTries bounds how many parts are looked at for one that fits.
const joinTries = 2000

// choose returns the part that continues ch, or nil.
func choose(ch *chain, heads map[any][]*chain, k any, by joiner) (best *chain) {
	parts := heads[k]
	for len(parts) > 0 && parts[0].into != nil {
		parts = parts[1:]
	}

	heads[k] = parts

	_, last := ch.span()
	for _, o := range parts[:min(len(parts), joinTries)] {
		if o.into != nil || o == ch {
			continue
		}
		if first, _ := o.span(); first <= last {
			continue
		}
		if best == nil || by.better(ch, o, best) {
			best = o
		}
	}

	return best
}

// equal joins parts that are equal in all bytes, with hops between that have neither.
func (c *comparison) equal() joiner {
	return equalBytes{c}
}

type equalBytes struct{ c *comparison }

func (j equalBytes) tail(ch *chain) any {
	_, last := ch.span()
	l, ok := j.c.down(ch.at[last])
	if !ok {
		return nil
	}
	return l.linkKey
}

func (j equalBytes) head(ch *chain) any {
	first, _ := ch.span()
	l, ok := j.c.up(ch.at[first])
	if !ok {
		return nil
	}
	return l.linkKey
}

func (equalBytes) better(_, _, _ *chain) bool {
	return false
}

// sameRequest joins parts that have the request in common.
type sameRequest struct{ c *comparison }

func (sameRequest) tail(ch *chain) any {
	_, last := ch.span()
	if r := ch.at[last].request; r != nil && r.out.bytes > 0 {
		return r.out
	}
	return nil
}

func (sameRequest) head(ch *chain) any {
	if r := ch.first().request; r != nil && r.in.bytes > 0 {
		return r.in
	}
	return nil
}

func (sameRequest) better(ch, b, o *chain) bool {
	_, last := ch.span()
	bound := func(p *chain) bool {
		return p.first().conn.up[0].conn == ch.at[last].conn
	}
	if bound(b) != bound(o) {
		return bound(b)
	}
	return ch.apart(b) < ch.apart(o)
}

// apart returns how much time lies between the beginnings of two parts.
func (ch *chain) apart(o *chain) time.Duration {
	return ch.time().Sub(o.time()).Abs()
}

// sameAnswer joins parts that have the final answer in common.
type sameAnswer struct{}

func (sameAnswer) tail(ch *chain) any {
	_, last := ch.span()
	if f := ch.at[last].final(); f != nil && f.in.bytes > 0 {
		return f.in
	}
	return nil
}

func (sameAnswer) head(ch *chain) any {
	if f := ch.first().final(); f != nil && f.out.bytes > 0 {
		return f.out
	}
	return nil
}

func (sameAnswer) better(ch, b, o *chain) bool {
	return ch.apart(b) < ch.apart(o)
}

// alike joins parts of which request and answer both differ, by method and time.
type alike struct{}

// joinWindow is how far apart, in time, parts of one exchange are looked for.
const joinWindow = 2 * time.Minute

// likeness is what such parts have in common.
type likeness struct {
	method   string
	answered bool
	minute   int64
}

func (*alike) like(ch *chain, x *exchange) any {
	return likeness{
		x.method(),
		x.final() != nil,
		ch.time().Unix() / int64(joinWindow/time.Second),
	}
}

func (j *alike) tail(ch *chain) any {
	_, last := ch.span()
	if ch.at[last].ended() || ch.at[last].ownAnswer() != nil || last == len(ch.at)-1 {
		return nil
	}
	return j.like(ch, ch.at[last])
}

func (j *alike) head(ch *chain) any {
	if first, _ := ch.span(); first == 0 {
		return nil
	}
	return j.like(ch, ch.first())
}

func (*alike) better(ch, b, o *chain) bool {
	return ch.apart(b) < ch.apart(o)
}

// excuse finds differences that have an honest reason: an error that a hop answered by
// itself, or a request that the originator sent again.
func (c rules) excuse(fs *findings) {
	own, status := fs.ownError()
	waited, again := c.gaveUp(fs.chain)
	for i, f := range fs.all {
		m := fs.messages[i]
		if f.Verdict != Differs && !fs.chain.dropped() {
			continue
		}

		switch response := m.first().response; {
		case !response && own >= 0 && m.endsBy(own, status):
			f.Verdict, f.Hop, f.Wire = Answered, c.hops[own], 0
			f.Text = fmt.Sprintf(
				"not all of it passed: %s answered %d itself",
				c.hops[own],
				status,
			)
		case response && own >= 0 && m.beyond(own) && givenUp(status) && c.wasLate(fs.chain, m):
			f.Verdict, f.Hop, f.Wire = Late, c.hops[own], 0
			f.Text = fmt.Sprintf("%s had answered %d itself", c.hops[own], status)
		case !response && again && m.endsBy(len(c.hops), 0):
			f.Verdict = Retried
			f.Hop = ""
			f.Wire = 0
			fs.retried = true
			f.Text = "lost on the way, and sent again"

		case response && again && m.entries[0] == nil && m.waited(fs.chain) > waited-earlyBy:
			f.Verdict = Late
			f.Wire = 0
			f.Text = "the originator had sent the request again"
		}
	}
}

// givenUp reports whether a hop answers so when the next one does not answer in time, or
// not in a way that can be passed.
func givenUp(status int) bool {
	return status == 502 || status == 504
}

// ownError returns the hop whose own error the hops before it have as the final answer.
func (fs *findings) ownError() (hop, status int) {
	for i, f := range fs.all {
		m := fs.messages[i]
		if own := m.ownHop(); f.Verdict == Answered && m.first().final() &&
			OwnStatus(m.first().status) {
			return own, m.first().status
		}
	}
	return -1, 0
}

// endsBy reports whether the hops have less and less of a request, and none changed a
// byte of equally many; a hop that does not have it comes after own, which had it from the
// hop before.
func (m *message) endsBy(own, status int) bool {
	last := int64(-1)
	var sum key
	for hop, e := range m.entries {
		if e == nil {
			return last >= 0 && (hop > own || own == len(m.entries)) && m.noneAfter(hop)
		}
		if last >= 0 && (e.in.bytes > last || e.in.bytes == last && e.in != sum) {
			return false
		}
		if e.changed() && !e.mapped && e.out.bytes >= e.in.bytes {
			return false
		}
		if last = e.out.bytes; last == 0 {
			return m.noneAfter(hop + 1)
		}

		sum = e.out
	}

	return status > 0
}

func (m *message) noneAfter(hop int) bool {
	for _, e := range m.entries[hop:] {
		if e != nil {
			return false
		}
	}
	return true
}

// beyond reports whether only hops behind that one have the message.
func (m *message) beyond(own int) bool {
	for hop, e := range m.entries {
		if e != nil && hop <= own {
			return false
		}
	}
	return true
}

// wasLate reports whether an answer came when the hop before had given up, or cannot be
// read.
func (c rules) wasLate(ch *chain, m *message) bool {
	waited, ok := ch.first().lasted()
	return ok && (m.first().mute() || m.waited(ch) > waited-earlyBy)
}

// waited returns how long the hop nearest to the originator that has an answer waited for it.
func (m *message) waited(ch *chain) time.Duration {
	for hop, e := range m.entries {
		if e != nil && ch.at[hop].request != nil {
			return e.time.Sub(ch.at[hop].request.time)
		}
	}
	return 0
}

// retried is a request at the originator.
type retried struct {
	at   time.Time
	conn string
	seq  uint64
}

// gaveUp returns how long the originator waited until it sent the request again, if it had
// no answer and did.
func (c rules) gaveUp(ch *chain) (time.Duration, bool) {
	x := ch.at[0]
	if x == nil || x.request == nil || len(x.answers) > 0 {
		return 0, false
	}

	for _, r := range c.retry[x.request.out] {
		if (r.conn != x.conn.id || r.seq != x.seq) && !r.at.Before(x.request.time) {
			return r.at.Sub(x.request.time), true
		}
	}

	return 0, false
}

// findRetries reads the originator's files again, for requests equal to those that were
// never answered.
func (c *comparison) findRetries(rest []*chain) error {
	wanted := map[key]bool{}
	for _, ch := range rest {
		if x := ch.at[0]; x != nil && x.request != nil && len(x.answers) == 0 {
			wanted[x.request.out] = true
		}
	}

	c.retry = map[key][]retried{}
	if len(wanted) == 0 {
		return nil
	}

	for _, s := range c.sources {
		if s.hop > 0 {
			continue
		}

		r, err := openReader(s.path)
		if err != nil {
			return fmt.Errorf("evidence: %w", err)
		}

		for err == nil && r.next != nil {
			if e := newEntry(r.next); !e.response && wanted[e.out] {
				c.retry[e.out] = append(
					c.retry[e.out],
					retried{e.time, r.next.Conn, r.next.Seq},
				)
			}
			err = r.advance()
		}

		r.close()
		if err != nil {
			return err
		}
	}

	return nil
}

// findSent notes which answers the destination gave to what, so that one that went to
// another request is named.
func (c *comparison) findSent(rest []*chain) {
	c.sent = map[key]Place{}
	last := len(c.hops) - 1
	for _, ch := range rest {
		if x := ch.at[last]; x != nil && x.final() != nil {
			c.sent[x.final().out] = Place{
				Index: last,
				Hop:   c.hops[last],
				Conn:  x.conn.id,
				Seq:   x.seq,
			}
		}
	}
}
