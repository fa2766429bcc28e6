package evidence

import "time"

// source is one evidence file of a hop, with the numbered files before it.
type source struct {
	*reader
	hop   int
	conns map[string]*conn
	live  int // connections left when idle ones were last forgotten
	taken int // lines

	newest time.Time // the latest time of a line
	shift  time.Duration
	tuned  bool // shift is known: how far the clock is ahead of the first source's
}

// corrected returns the time of a line by the clock of the first source.
func (s *source) corrected(t time.Time) time.Time {
	return t.Add(-s.shift)
}

// tuneBy is how many lines of a source without a common exchange are read before its
// clock is taken to be right.
const tuneBy = 10_000

// pick returns the source whose next line is to be taken, or nil at the end of all. Lines
// are taken in the order of time, so that few wait for their partners; as clocks may
// differ by more than all lines of a file, they are compared by the exchanges that hops
// have in common, and until there is one, lines are taken in turn.
func (c *comparison) pick() *source {
	inTurn := false
	for _, s := range c.sources {
		inTurn = inTurn || s.next != nil && !s.tuned
	}

	var best *source
	for _, s := range c.sources {
		if s.next == nil {
			continue
		}
		if best == nil || inTurn && s.taken < best.taken ||
			!inTurn && s.corrected(s.next.Time).Before(best.corrected(best.next.Time)) {
			best = s
		}
	}

	return best
}

// tune learns from an exchange that several hops have how far their clocks are apart.
func (c *comparison) tune(ch *chain) {
	var known *exchange
	for _, x := range ch.at {
		if x != nil && x.source.tuned && (known == nil || x.source == c.sources[0]) {
			known = x
		}
	}

	if known == nil {
		return
	}

	at := known.source.corrected(known.time())
	for _, x := range ch.at {
		if x != nil && x.source != c.sources[0] && x != known {
			x.source.shift, x.source.tuned = x.time().Sub(at), true
		}
	}
}
