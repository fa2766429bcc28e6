package gateway

import (
	"sync/atomic"
	"time"

	"fhirdest.example/gateway/wire"
)

// faultGone is no answer: the client itself is gone, or the connection must simply be
// cut.
var faultGone = &fault{text: "The client ended the connection within a request."}

// pump passes the rest of a request's body while the answer may already be coming.
// While it runs it owns the client's inbox and the request's tally.
type pump struct {
	x        *exchange
	deadline deadline
	done     chan struct{}
	fault    atomic.Pointer[fault] // why the request did not go out whole
	moved    atomic.Bool           // a byte of the body has come
	stop     atomic.Bool
	held     atomic.Bool // stopped, while the answer still comes from the upstream
}

// startPump begins; moved says whether a byte of the body has come before.
func (x *exchange) startPump(moved bool) {
	p := &pump{x: x, done: make(chan struct{})}
	p.moved.Store(moved)
	x.pump = p
	x.g.janitor.add(&p.deadline)
	go p.run()
}

// endPump waits for the pump; unless it may finish, it is stopped. It reports whether
// the whole request has gone out.
func (x *exchange) endPump(finish bool) bool {
	p := x.pump
	if p == nil {
		return x.sent
	}

	if !finish {
		p.stop.Store(true)
		x.raw.SetReadDeadline(past)
		x.up.raw.SetWriteDeadline(past)
	}

	<-p.done
	x.pump = nil
	return x.sent
}

// run passes the body and, when it cannot be passed whole, cuts the upstream, so that
// the next hop does not take what it has for the whole; of one that is held, the
// exchange does so after its answer.
func (p *pump) run() {
	defer close(p.done)
	x := p.x
	defer x.g.janitor.remove(&p.deadline)
	if f := p.pass(); f != nil {
		p.fault.Store(f)
		if f != faultClosed && !p.held.Load() {
			x.up.raw.cut()
		}
	}
	x.recordRequest()
}

// pass passes the body. Progress is so many bytes within the time for the body.
func (p *pump) pass() *fault {
	x, times := p.x, &p.x.state.times
	need := max(1, int64(float64(x.state.limits.BodyRate)*times.Body.Seconds()))
	got, until := need, time.Duration(0)
	for !x.sent {
		if got >= need {
			got, until = 0, x.g.janitor.clock()+times.Body
		}
		p.deadline.reads(&x.g.janitor, x.raw, until-x.g.janitor.clock())
		n, err := x.tls.Read(x.in.room(wire.MaxHead))
		x.in.w += n
		got += int64(n)
		if n == 0 && err != nil {
			return p.ended()
		}

		p.moved.Store(true)
		if f := p.forward(); f != nil {
			return f
		}
	}

	x.deadline.sent(&x.g.janitor, true)
	return nil
}

// forward sends what has come, up to the end of the body.
func (p *pump) forward() *fault {
	x := p.x
	b := x.in.bytes()
	n, done, err := x.body.Feed(b)
	if n > 0 {
		if f := p.send(b[:n]); f != nil {
			return f
		}
		x.in.consume(n)
	}

	if err != nil {
		return headFault(err)
	}

	x.sent = done
	return nil
}

// send writes to the next hop.
func (p *pump) send(b []byte) *fault {
	x := p.x
	p.deadline.writes(&x.g.janitor, x.up.raw, x.state.times.Write)
	k, err := x.up.tls.Write(b)
	if err != nil {
		x.request.received(b)
		x.request.sent(b[:k])
		return faultClosed
	}
	x.request.passed(b)
	return nil
}

// ended says why nothing more came from the client.
func (p *pump) ended() *fault {
	if p.deadline.over() && !p.stop.Load() {
		return faultSlowBody
	}
	return faultGone
}
