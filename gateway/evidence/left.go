package evidence

import "slices"

// leftOver judges what did not come together by itself: first what is equal on both
// sides of hops that do not have it, then what is alike.
func (c *comparison) leftOver() {
	c.aging = nil
	var rest []*message
	for _, m := range skip(c.parts()) {
		if m.straight() {
			c.settle(m, m.finding(c, Straight))
			continue
		}
		rest = append(rest, m)
	}

	for _, m := range join(rest) {
		c.report(c.judge(m))
	}
}

// parts empties the links, and returns the parts by time.
func (c *comparison) parts() (parts []*message) {
	seen := map[*message]bool{}
	for _, m := range c.loose {
		if m.lines != nil && m.into == nil {
			parts = append(parts, m)
		}
	}

	c.loose = nil
	for at, q := range c.links {
		for _, m := range q.parts {
			if m = m.root(); !seen[m] {
				seen[m] = true
				parts = append(parts, m)
			}
		}
		delete(c.links, at)
	}

	slices.SortFunc(parts, func(a, b *message) int { return a.first().Time.Compare(b.first().Time) })
	return parts
}

// skip joins parts where what one sent is what a later one got, with hops between that
// have neither.
func skip(parts []*message) (whole []*message) {
	far := map[gap][]*message{}
	for _, m := range parts {
		from, _ := m.span()
		k := gap{m.first().Dir, gotKey(m.lines[from])}
		far[k] = append(far[k], m)
	}

	for _, m := range parts {
		for m.into == nil {
			_, to := m.span()
			k := gap{m.first().Dir, sentKey(m.lines[to])}
			o := beyond(far, k, m)
			if o == nil {
				break
			}
			m.absorb(o)
		}
	}

	for _, m := range parts {
		if m.into == nil {
			whole = append(whole, m)
		}
	}

	return whole
}

// gap is what was sent on one side of hops that do not have it, and got on the other.
type gap struct {
	dir string
	key
}

// joinTries bounds how many equal parts are looked at for one that fits.
const joinTries = 2000

// beyond takes, of the parts that got what m sent, the earliest that lies after it.
func beyond(far map[gap][]*message, k gap, m *message) *message {
	parts := far[k]
	for k.bytes > 0 && len(parts) > 0 && parts[0].into != nil {
		parts = parts[1:]
	}
	far[k] = parts

	for _, o := range parts[:min(len(parts), joinTries)] {
		if k.bytes > 0 && o.into == nil && o.after(m) {
			return o
		}
	}

	return nil
}

// straight: more than two hops, and only the two ends have it.
func (m *message) straight() bool {
	last := len(m.lines) - 1
	for i, l := range m.lines {
		if (l != nil) != (i == 0 || i == last) {
			return false
		}
	}
	return last > 1 && m.tamperedAt() < 0 && m.agrees()
}

// span returns the first and last hop that has the message, in its direction.
func (m *message) span() (from, to int) {
	from = -1
	m.along(func(hop int, l *Line) bool {
		if l != nil {
			if from < 0 {
				from = hop
			}
			to = hop
		}
		return true
	})

	return from, to
}

// after: o begins, in the direction of both, at a hop that comes after all of m.
func (o *message) after(m *message) bool {
	from, _ := o.span()
	_, to := m.span()
	if m.first().Dir == "response" {
		return from < to
	}
	return from > to
}
