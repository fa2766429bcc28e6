package gateway

import (
	"errors"
	"time"

	"fhirdest.example/gateway/wire"
)

// exchange is one request and its answers.
type exchange struct {
	*client
	state     *state
	method    string
	way       way
	req       wire.Request
	head      int  // length of the head in the inbox
	come      int  // of the request, in the inbox
	whole     bool // that is all of it
	up        *upstream
	endpoint  *endpoint // of the upstream that was tried last
	asked     bool      // the request has gone out, as far as it has come
	first     bool      // it is the first on its upstream
	body      wire.Body
	sent      bool   // the whole request has gone out
	broken    bool   // the upstream did not accept all of it
	rewritten []byte // the request as far as it has come, with prefix and Host replaced
	grown     int64  // by so many bytes
	pump      *pump
	begun     bool // the final answer has begun

	// Of the answers, what was written to the client and how long that took.
	written int64
	blocked time.Duration

	request, response tally
	recorded          bool // the request has its line
	answers           inbox
	interim           int
	continued         bool // 100 (Continue) has been passed
}

// exchange passes one request and its answers; false ends the connection.
func (c *client) exchange() bool {
	x := &c.x
	x.begin(c)
	if !x.readHead() {
		return false
	}
	if f := x.routeIt(); f != nil {
		return x.refuse(f)
	}

	if !x.awaitTurn() {
		return x.refuse(faultGone)
	}
	if !x.frame() {
		return false
	}

	for _, source := range sources {
		u, f := source(x)
		if f != nil {
			return x.refuse(f)
		}
		if u != nil && x.askOn(u) {
			return x.relay()
		}
	}

	return x.askOthers()
}

// askOthers asks on new connections, after one was closed before anything of the request
// was sent: each puts its address out, so that the next one leads to another.
func (x *exchange) askOthers() bool {
	closed := faultClosed.because("it closes new connections", nil)
	for range x.way.route.endpoints[1:] {
		x.g.noteRefusal(x.way.route, x.endpoint, closed)
		u, f := x.fresh()
		if f != nil {
			return x.refuse(f)
		}
		if x.askOn(u) {
			return x.relay()
		}
	}

	return x.refuse(closed)
}

// begin clears what is left of the last exchange.
func (x *exchange) begin(c *client) {
	off := c.g.evidence == nil
	x.request.reset(off)
	x.response.reset(off)
	*x = exchange{client: c, state: c.g.state.Load(), request: x.request, response: x.response,
		answers: inbox{budget: &c.g.memory}}
}

// readHead reads and parses a head. False: the client is gone, or has been answered.
func (x *exchange) readHead() bool {
	times := &x.state.times
	var scan wire.Head
	limited := false
	for {
		if len(x.in.bytes()) > 0 {
			end, err := scan.End(x.in.bytes(), wire.MaxHead)
			if err == nil && end > 0 {
				x.head = end
				err = wire.ParseRequest(x.in.bytes()[:end], &x.req)
			}
			if err != nil {
				x.noteRequest()
				return x.refuse(headFault(err))
			}
			if end > 0 {
				x.noteRequest()
				x.method = x.req.MethodName()
				return true
			}
		}

		if x.in.buf == nil {
			x.deadline.idles(&x.g.janitor, x.raw, times.Idle)
		} else if !limited {
			x.deadline.reads(&x.g.janitor, x.raw, times.Head)
			limited = true
		}

		if _, err := x.in.fill(x.tls, wire.MaxHead); err != nil {
			return x.headEnded(err)
		}
	}
}

// noteRequest begins the request's evidence, and puts it under the configuration that
// is now in force: the wait for it may have been long.
func (x *exchange) noteRequest() {
	x.state = x.g.state.Load()
	x.seq++
	x.request.begin(x.g.now)
}

// headEnded ends a connection whose next head did not come whole.
func (x *exchange) headEnded(err error) bool {
	if len(x.in.bytes()) == 0 {
		return false
	}

	x.noteRequest()
	if err == errNoMemory {
		return x.refuse(faultBusy)
	}
	if x.deadline.over() {
		return x.refuse(faultSlowHead)
	}

	x.request.received(x.in.bytes())
	x.recordRequest()
	return false
}

func headFault(err error) *fault {
	var e *wire.Error
	if errors.As(err, &e) {
		return framingFault(e.Status, e.Reason)
	}
	return faultOwn
}

// routeIt finds where the request goes, unless it must not pass at all.
func (x *exchange) routeIt() (f *fault) {
	if x.way, f = x.state.table.route(&x.req); f != nil {
		return f
	}

	// A next hop that switches protocols ends the request at its head: the body would be
	// the beginning of another protocol there (RFC 9110, 7.8).
	if x.req.Upgrade && x.req.Framing != wire.None {
		return faultUpgrade
	}

	if x.g.evidence != nil && !x.state.passWithout && x.g.evidence.Err() != nil {
		return faultEvidence
	}
	return nil
}

// frame finds how much of the request has come. False: it has been refused.
func (x *exchange) frame() bool {
	x.body = wire.NewBody(x.req.Framing, x.req.Length)
	n, done, err := x.body.Feed(x.in.bytes()[x.head:])
	if err != nil {
		return x.refuse(headFault(err))
	}
	x.come, x.whole = x.head+n, done
	return true
}

// outgoing is what has come of the request, as it goes to the next hop.
func (x *exchange) outgoing() []byte {
	p := x.in.bytes()[:x.come]
	if x.way.route.mapped() && x.rewritten == nil {
		x.rewritten = append(x.way.rewrite(nil, p[:x.head], &x.req), p[x.head:]...)
	}
	if x.rewritten != nil {
		return x.rewritten
	}
	return p
}

// send sends what has come of the request, and has the pump send the rest; then the
// answer is awaited. False: the upstream is not to be used, as a part of a record came
// on it unasked; an unused one may hold session tickets. A failure to send shows in what
// is read: the next hop may have answered before it closed.
func (x *exchange) send() bool {
	if x.up.used && x.up.raw.got > 0 {
		return false
	}

	x.first = !x.up.used
	x.asked, x.up.used = true, true
	x.sent = x.whole
	x.deadline.sent(&x.g.janitor, x.whole || x.awaitsContinue())
	x.owe(&x.request)
	x.deadline.writes(&x.g.janitor, x.up.raw, x.state.times.Write)
	x.broken = x.up.raw.flush() != nil
	x.noteSent()
	if x.whole {
		x.recordRequest()
	} else {
		x.startPump(x.come > x.head)
	}

	x.deadline.awaits(&x.g.janitor, x.up.raw, x.state.times.FirstByte)
	return true
}

// noteSent counts what has gone out.
func (x *exchange) noteSent() {
	p := x.in.bytes()[:x.come]
	switch {
	case x.broken:
		x.request.received(p) // how much of it the next hop has, nobody knows
	case x.rewritten != nil:
		x.grown = int64(len(x.rewritten) - len(p))
		x.request.received(p)
		x.request.sent(x.rewritten)
	default:
		x.request.passed(p)
	}

	x.in.consume(x.come)
}
