package gateway

import (
	"sync"
	"sync/atomic"
	"time"

	"fhirdest.example/gateway/wire"
)

// pump passes the rest of a request's body while the answer may already be coming.
// While it runs it owns the client's inbox and the request's tally.
type pump struct {
	x        *exchange
	deadline deadline
	done     chan struct{}
	fault    atomic.Pointer[fault] // why the request did not go out whole
	moved    atomic.Bool           // a byte of the body has come
	stop     atomic.Bool
	// keepsUpstream: it was stopped while the answer still comes from the upstream.
	keepsUpstream atomic.Bool

	// mu guards begun: the client need not wait for 100 (Continue), or no longer, so that
	// it is its turn and not the next hop's.
	mu    sync.Mutex
	begun bool
}

// startPump begins; moved reports whether a byte of the body has come before.
func (x *exchange) startPump(moved bool) {
	p := &pump{
		x:     x,
		done:  make(chan struct{}),
		begun: !x.awaitsContinue(),
	}
	p.moved.Store(moved)
	x.pump = p
	x.g.janitor.add(&p.deadline)

	go p.run()
}

// awaitsContinue reports whether the client may rightly keep the body to itself until it
// has an answer (RFC 9110, 10.1.1). It holds of the request as it first went out.
func (x *exchange) awaitsContinue() bool {
	return x.req.Continue && !x.whole && x.come == x.head
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
// what the next hop has does not look like the whole; where the answer still comes, the
// exchange does so afterwards.
func (p *pump) run() {
	defer close(p.done)
	x := p.x
	defer x.g.janitor.remove(&p.deadline)

	if f := p.pass(); f != nil {
		p.fault.Store(f)
		if !f.is(faultClosed) && !p.keepsUpstream.Load() {
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
		// Without a limit while the client waits for 100 (Continue). The limit is cleared
		// first, as 100 may come at any moment and set one.
		if p.deadline.rests(); p.hasBegun() {
			if got >= need {
				got, until = 0, x.g.janitor.clock()+times.Body
			}
			p.deadline.reads(&x.g.janitor, x.raw, until-x.g.janitor.clock())
		}

		room, err := x.in.room(wire.MaxHead)
		if err != nil {
			return faultOwn // all that came has been forwarded
		}

		n, err := readRecords(x.tls, x.raw, room)
		x.in.w += n
		got += int64(n)
		if n == 0 && err != nil {
			return p.ended()
		}

		p.moved.Store(true)
		p.begin(func() {})
		if f := p.forward(); f != nil {
			return f
		}
		if n == len(room) {
			x.in.widen() // the body comes faster than it is passed
		}
	}

	x.deadline.sent(&x.g.janitor, true)
	return nil
}

func (p *pump) hasBegun() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.begun
}

// begin makes it the client's turn, once: the limit of the answer's first byte does not
// run until the body has gone out. What else there is to do is done at the same time.
func (p *pump) begin(also func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.begun {
		return
	}

	p.begun = true
	p.x.deadline.sent(&p.x.g.janitor, false)
	also()
}

// resume begins the time for the body, as 100 (Continue) has been passed.
func (p *pump) resume() {
	x := p.x
	p.begin(func() {
		p.deadline.reads(&x.g.janitor, x.raw, x.state.times.Body)
	})
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
		return faultClosed.because("it stopped reading the request", err)
	}

	x.request.passed(b)
	return nil
}

// ended returns why nothing more came from the client.
func (p *pump) ended() *fault {
	if p.deadline.over() && !p.stop.Load() {
		return faultSlowBody
	}
	return faultGone
}
