package evidence

import (
	"fmt"
	"slices"
	"strconv"
	"time"
)

// message is the lines of one message, by hop; nil where a hop has none.
type message struct {
	lines []*Line
	into  *message // what it has become a part of
	open  int      // links that it waits at
}

// first is the line of the hop nearest to the originator.
func (m *message) first() *Line {
	for _, l := range m.lines {
		if l != nil {
			return l
		}
	}
	return nil
}

// along calls visit with the hops in the direction of the message, until it
// returns false.
func (m *message) along(visit func(hop int, l *Line) bool) {
	for i := range m.lines {
		hop := i
		if m.first().Dir == "response" {
			hop = len(m.lines) - 1 - i
		}
		if !visit(hop, m.lines[hop]) {
			return
		}
	}
}

// changed: the hop sent on other bytes than it got.
func (l *Line) changed() bool { return l.SHA256In != l.SHA256Out || l.BytesIn != l.BytesOut }

// mapped: the hop replaced prefix and Host of a request, as its route says.
func (l *Line) mapped() bool { return l.Mapped && l.Dir == "request" && l.changed() }

// firstAt returns the first hop, in the direction of the message, whose line is so, or
// -1.
func (m *message) firstAt(so func(*Line) bool) (at int) {
	at = -1
	m.along(func(hop int, l *Line) bool {
		if l != nil && so(l) {
			at = hop
		}
		return at < 0
	})
	return at
}

func (m *message) tamperedAt() int {
	return m.firstAt(func(l *Line) bool { return l.changed() && !l.mapped() })
}

// mute: the hop could not read the message, and tells nothing of it but its bytes.
func (l *Line) mute() bool { return l.Method == "" || l.Dir == "response" && l.Status == 0 }

// alike: the two lines tell the same of the same bytes. The method stands on answers
// too, but equal answers may be to different ones.
func (l *Line) alike(o *Line) bool {
	return l.mute() || o.mute() || l.Status == o.Status && (l.Dir == "response" || l.Method == o.Method)
}

// agrees: no two lines of the message tell different things.
func (m *message) agrees() bool {
	var said *Line
	for _, l := range m.lines {
		if l == nil || l.mute() {
			continue
		}
		if said != nil && !said.alike(l) {
			return false
		}
		said = l
	}

	return true
}

// finding describes the message with a verdict that names no hop.
func (m *message) finding(c *comparison, v Verdict) *Finding {
	var l *Line
	m.along(func(_ int, at *Line) bool { l = at; return at == nil })
	f := &Finding{
		Time:    l.Time,
		Dir:     l.Dir,
		Method:  l.Method,
		Status:  l.Status,
		Bytes:   l.BytesIn,
		SHA256:  l.SHA256In,
		Verdict: v,
		Conn:    l.Conn,
		Seq:     l.Seq,
	}

	if l.BytesIn == 0 {
		f.Bytes, f.SHA256 = l.BytesOut, l.SHA256Out
	}
	return f
}

// changedBy describes the message as changed by the hop at.
func (m *message) changedBy(c *comparison, v Verdict, at int) *Finding {
	f := m.finding(c, v)
	f.Hop = c.hops[at].name
	f.Text = fmt.Sprintf("%s received %s and sent %s", f.Hop, in(m.lines[at]), out(m.lines[at]))
	return f
}

func in(l *Line) string  { return short(l.BytesIn, l.SHA256In) }
func out(l *Line) string { return short(l.BytesOut, l.SHA256Out) }

func (l *Line) says() string {
	if l.Dir == "response" {
		return fmt.Sprintf("status %d", l.Status)
	}
	return fmt.Sprintf("method %q", l.Method)
}

func short(n int64, sum string) string {
	if n == 0 {
		return "nothing"
	}
	return fmt.Sprintf("%d bytes %.12s", n, sum)
}

// joinWindow is how far apart, in time, parts of one message are looked for.
const joinWindow = 2 * time.Minute

// join puts the parts of a message together that differ in their bytes: parts of the
// same kind at different hops, nearest in time. What a hop itself answered or changed
// goes with what has its other side. The parts stand in order of time.
func join(parts []*message) (whole []*message) {
	shelves := shelve(parts)
	used := make([]bool, len(parts))
	for i, m := range parts {
		if used[i] {
			continue
		}

		for used[i] = true; !m.complete(); {
			next := -1
			for _, s := range shelves[m.kind()] {
				if j := s.first(used); j >= 0 && (next < 0 || j < next) && m.joins(parts[j]) {
					next = j
				}
			}

			if next < 0 {
				break
			}

			used[next] = true
			for hop, l := range parts[next].lines {
				if l != nil {
					m.lines[hop] = l
				}
			}
		}

		whole = append(whole, m)
	}

	return whole
}

// kind is what the parts of one message have in common.
type kind struct {
	dir, method string
	interim     bool
}

func (m *message) kind() kind {
	l := m.first()
	return kind{l.Dir, l.Method, l.Status < 200}
}

// shelf is the places of parts of one kind, at the same hops: of these the first that is
// left is nearest, and where it does not fit no other one does.
type shelf struct {
	hops   string
	places []int
}

// shelve sorts out the parts that may join an earlier one.
func shelve(parts []*message) map[kind][]*shelf {
	shelves := map[kind][]*shelf{}
	for i, m := range parts {
		if m.ownHop() >= 0 {
			continue
		}

		k, hops := m.kind(), m.hops()
		at := slices.IndexFunc(shelves[k], func(s *shelf) bool { return s.hops == hops })
		if at < 0 {
			at = len(shelves[k])
			shelves[k] = append(shelves[k], &shelf{hops: hops})
		}
		s := shelves[k][at]
		s.places = append(s.places, i)
	}

	return shelves
}

// hops says which hops have the message.
func (m *message) hops() string {
	b := make([]byte, 0, 16)
	for _, l := range m.lines {
		b = strconv.AppendBool(b, l != nil)
	}
	return string(b)
}

// first returns the first place that is not used, or -1.
func (s *shelf) first(used []bool) int {
	for len(s.places) > 0 && used[s.places[0]] {
		s.places = s.places[1:]
	}
	if len(s.places) == 0 {
		return -1
	}
	return s.places[0]
}

// complete: no further part belongs to it, as every hop has it or one ended it.
func (m *message) complete() bool {
	for _, l := range m.lines {
		if l == nil {
			return m.ownHop() >= 0
		}
	}
	return true
}

// joins reports whether o can be another part of the same message.
func (m *message) joins(o *message) bool {
	a, b := m.first(), o.first()
	if a.Dir != b.Dir || a.Method != b.Method || b.Time.Sub(a.Time) > joinWindow {
		return false
	}
	if (a.Status < 200) != (b.Status < 200) {
		return false
	}

	for hop := range m.lines {
		if m.lines[hop] != nil && o.lines[hop] != nil {
			return false
		}
	}

	return true
}

// ownHop returns the hop that answered by itself or ended the message, or -1.
func (m *message) ownHop() int {
	for hop, l := range m.lines {
		if l != nil && (l.BytesIn == 0) != (l.BytesOut == 0) {
			return hop
		}
	}
	return -1
}

// judge names the first hop where a message differs, in its direction.
func (c *comparison) judge(m *message) *Finding {
	f := m.finding(c, Differs)
	if own := m.ownHop(); own >= 0 && c.reaches(m, own) && m.agrees() {
		f.Verdict, f.Hop, f.Text = Answered, c.hops[own].name, "ended or answered there by the hop itself"
		return f
	}

	before, said, name := (*Line)(nil), (*Line)(nil), ""
	m.along(func(hop int, l *Line) bool {
		f.Hop = c.hops[hop].name
		switch {
		case l == nil:
			f.Text = fmt.Sprintf("%s has no such message", f.Hop)
		case before != nil && sentKey(before) != gotKey(l):
			f.Text = fmt.Sprintf("%s sent %s, %s received %s", name, out(before), f.Hop, in(l))
		case said != nil && !said.alike(l):
			f.Text = fmt.Sprintf("of the same bytes %s tells %s, %s tells %s", said.Hop, said.says(), f.Hop, l.says())
		case l.changed() && !l.mapped():
			f.Text = fmt.Sprintf("%s received %s and sent %s", f.Hop, in(l), out(l))

		default:
			if before, name = l, f.Hop; !l.mute() {
				said = l
			}
			return true
		}

		return false
	})

	return f
}

// reaches: every hop between the originator and own has the message, and none
// beyond; so nothing is missing.
func (c *comparison) reaches(m *message, own int) bool {
	for hop, l := range m.lines {
		if (l != nil) != (hop <= own) {
			return false
		}
	}
	return true
}
