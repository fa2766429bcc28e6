package evidence

import (
	"fmt"
	"time"
)

// ownStatuses are the errors that a gateway answers by itself. It gives those that are
// false before it passes anything of the request on, the others then or later.
var ownStatuses = map[int]bool{
	400: true,  // the request cannot be framed, which may show in its body
	404: false, // no route
	408: true,  // head or body too slow
	413: true,
	417: false, // an expectation that it does not meet
	421: false, // a host that is not served there
	429: true,  // too many requests
	431: true,  // head or trailer too long
	500: true,
	501: false, // a method or an upgrade that is not passed
	502: true,
	503: true,
	504: true,
	505: false, // a version of HTTP that it does not speak
}

// OwnStatus reports whether a gateway may answer with this status by itself.
func OwnStatus(status int) bool {
	_, is := ownStatuses[status]
	return is
}

// findings are those of one exchange.
type findings struct {
	chain    *chain
	messages []*message
	all      []*Finding
	retried  bool
	waits    int // settings of clocks that more exchanges must show first
}

// rules are what the hops' lines of an exchange must agree on beyond its bytes.
type rules struct{ *comparison }

// compareExchange compares what the hops have of each message of an exchange.
func (c rules) compareExchange(ch *chain) *findings {
	fs := &findings{
		chain:    ch,
		messages: ch.messages(),
	}
	for _, m := range fs.messages {
		fs.all = append(fs.all, c.compareMessage(m))
	}
	return fs
}

// blame makes a difference of the request's or else of the final answer's finding, unless
// the exchange has one already.
func (c rules) blame(fs *findings, response bool, hop int, text string) {
	var at *Finding
	for i, f := range fs.all {
		if f.Verdict == Differs {
			return
		}
		if at == nil || response && fs.messages[i].first().response {
			at = f
		}
	}

	if at != nil {
		c.differ(at, hop, text)
	}
}

// holdToRules finds what is impossible about an exchange whose bytes agree: in requests
// from the originator on, in answers from the destination on.
func (c rules) holdToRules(fs *findings) {
	at := fs.chain.at
	for hop, x := range at {
		if x != nil && x.fault != "" && x.request != nil && x.fault != faultGoesOn {
			c.blame(fs, false, hop, c.hops[hop]+": "+x.fault)
		}
	}

	for hop := len(at) - 1; hop >= 0; hop-- {
		if at[hop] != nil {
			c.holdOwn(fs, at[hop])
			c.holdAnswers(fs, at[hop])
		}
	}
}

// holdAnswers finds what is impossible about the answers of an exchange at one hop.
func (c rules) holdAnswers(fs *findings, x *exchange) {
	name := c.hops[x.hop]
	switch {
	case x.fault != "":
		c.blame(fs, true, x.hop, name+": "+x.fault)
		return
	case x.request == nil:
		c.blame(fs, true, x.hop, name+": "+faultNoRequest)
		return
	}

	for i, a := range x.answers {
		switch {
		case a.time.Before(x.request.time):
			c.blame(fs, true, x.hop, fmt.Sprintf("%s has the answer %s before its request", name,
				x.request.time.Sub(a.time).Round(time.Millisecond)))
		case a.method != x.request.method && (a.method != "" || !c.end(x.hop)):
			c.blame(fs, true, x.hop, fmt.Sprintf("%s has method %q in the request and %q in its answer", name,
				x.request.method, a.method))
		case i < len(x.answers)-1 && a.final():
			c.blame(fs, true, x.hop, name+": "+faultSecondAnswer)
		}
	}
}

// holdOwn finds answers that a hop cannot give by itself.
func (c rules) holdOwn(fs *findings, x *exchange) {
	name := c.hops[x.hop]
	for _, a := range x.answers {
		if a.in.bytes > 0 || a.out.bytes == 0 {
			continue
		}

		late, is := ownStatuses[a.status]
		switch {
		case !is:
			c.blame(fs, true, x.hop,
				fmt.Sprintf("%s answered %d by itself, which is no error that a gateway gives", name,
					a.status))
		case !late && !x.ended() && x.request != nil:
			c.blame(fs, true, x.hop,
				fmt.Sprintf("%s passed the request on and answered %d by itself, which it can only do"+
					" with one that it does not pass", name, a.status))
		}
	}

	if x.request != nil && x.ended() && x.final() == nil && !fs.retried {
		c.blame(fs, false, x.hop, name+" ended the request and gave no answer")
	}
}

// How much longer a hop may wait for an answer than the one behind it, with all time-outs
// of a gateway; and how much shorter, as lines bear the time at which their program came
// to them.
const (
	heldAtMost = 2 * time.Minute
	earlyBy    = 5 * time.Second
)

// holdTimes compares, between hops, how long each waited for the final answer: that is
// known whatever their clocks show.
func (c rules) holdTimes(fs *findings) {
	before := (*exchange)(nil)
	for _, x := range fs.chain.at {
		if x == nil {
			continue
		}

		if before != nil {
			c.holdWaits(fs, before, x)
		}
		before = x
	}

	// A hop between may have written any time: the ends are compared, too.
	if near, far := fs.chain.at[0], fs.chain.at[len(c.hops)-1]; near != nil && far != nil {
		c.holdWaits(fs, near, far)
	}
}

func (c rules) holdWaits(fs *findings, near, far *exchange) {
	a, ok := near.lasted()
	b, has := far.lasted()
	if !ok || !has || near.ownAnswer() != nil {
		return
	}

	holder := near.hop
	if c.hops[holder] == originator {
		holder++ // whatever happened before it
	}

	switch {
	case a-b > heldAtMost:
		c.blame(fs, false, holder,
			fmt.Sprintf("held for %s: %s waited %s for the answer, %s %s", (a-b).Round(time.Second),
				c.hops[near.hop], a.Round(time.Second), c.hops[far.hop], b.Round(time.Second)))
	case b-a > earlyBy:
		c.blame(fs, true, holder, fmt.Sprintf("answered %s early: %s waited %s for the answer, %s %s",
			(b-a).Round(time.Second), c.hops[near.hop], a.Round(time.Second), c.hops[far.hop], b.Round(time.Second)))
	}
}

// unknown lists what the comparison cannot show: a hop between may write of itself what it
// likes, and only what the ends have is sure.
func (c *comparison) unknown() []string {
	out := []string{
		"that a hop between kept no copy of what it passed",
		fmt.Sprintf("that it delayed nothing by less than %s", heldAtMost),
		"which of several exchanges that are equal in every byte was where, and how long",
		"whether an error that a hop answered itself, or an answer that it did not pass, had an honest reason",
		"its own times, numbers and connections, but as far as they fit those of the ends",
	}

	if len(c.required) == 0 && c.summary.Straight > 0 {
		out = append(out, "that what is straight was sent so: a hop whose lines were deleted looks the same;"+
			" -hops names the hops that must be there")
	}
	if c.hops[0] != originator || c.hops[len(c.hops)-1] != destination {
		out = append(out,
			"anything beyond the hops compared: only with originator and destination are both ends honest")
	}

	return out
}
