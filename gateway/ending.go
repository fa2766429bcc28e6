package gateway

import (
	"time"

	"fhirdest.example/gateway/wire"
)

// A client is read from for a while after the last answer of its connection: closing at
// once on unread bytes would reset the connection under the answer, and many clients read
// it only once they have sent a whole upload (RFC 9112, 9.6).
const (
	lingerPause = time.Second      // without a byte
	lingerTime  = 10 * time.Second // in all
	maxLinger   = 64 << 20         // bytes
)

// finish decides whether another request may follow: not after one with an Upgrade
// field, as the next hop may have switched to another protocol without an answer that
// shows it. After the last one the client is
// read from for a while, as it may have sent more: closing on that would reset the
// connection under an answer that it has not read yet.
func (x *exchange) finish(r *wire.Response) bool {
	again := !r.Close && !x.req.Close && !x.req.Upgrade && !x.broken
	again = x.endPump(again) && again
	if again {
		x.up.park()
	} else {
		x.closeUpstream(x.up, !x.sent)
	}

	if again = again && !x.g.janitor.draining.Load(); !again {
		x.linger(false)
	}
	return again
}

// cutAnswer ends everything in the middle of an answer, so that no part of it looks
// like the whole.
func (x *exchange) cutAnswer(r *wire.Response) bool {
	x.recordResponse(r.Status)
	return x.cut()
}

func (x *exchange) cut() bool {
	x.raw.cut()
	x.endPump(false)
	x.closeUpstream(x.up, true)
	x.recordRequest()
	return false
}

// note keeps and logs a fault of the next hop.
func (x *exchange) note(f *fault) {
	if x.way.route == nil || !f.ofNextHop() {
		return
	}
	e := x.endpoint
	if f.endpoint != nil {
		e = f.endpoint
	}
	x.g.failed(x.way.route, e, f)
}

// refuse answers by itself, where no answer has begun, and ends the connection.
func (x *exchange) refuse(f *fault) bool {
	x.endPump(false)
	if x.up != nil {
		x.closeUpstream(x.up, true)
	}
	if x.begun || f.is(faultGone) {
		x.raw.cut()
		x.recordRequest()
		return false
	}

	x.note(f)
	x.g.metrics.own(f.status)
	b := f.answer(x.method, x.g.now())
	x.response.reset(x.response.off)
	x.response.begin(x.g.now)
	if !x.recorded {
		x.owe(&x.request)
	}

	x.owe(&x.response)

	x.deadline.writes(&x.g.janitor, x.raw, x.state.times.Write)
	n, _ := x.tls.Write(b)
	x.response.sent(b[:n])
	x.recordResponse(f.status)
	x.linger(x.up == nil)
	x.recordRequest()

	return false
}

// linger ends the sending to the client and reads on for a while. The rest
// of a request that was not passed is counted as received.
func (x *exchange) linger(count bool) {
	received := func(p []byte) {
		if count && !x.recorded {
			x.request.received(p)
		}
	}
	received(x.in.bytes())
	x.in.release()
	x.in.widen()

	x.tls.CloseWrite()

	x.raw.CloseWrite()
	x.raw.SetReadDeadline(time.Time{})

	clock := x.g.janitor.clock
	for total, end := 0, clock()+lingerTime; total < maxLinger && clock() < end; {
		x.deadline.reads(&x.g.janitor, x.raw, min(lingerPause, end-clock()))
		room, err := x.in.room(bufferSize)
		if err != nil {
			return
		}

		n, err := x.tls.Read(room)
		received(room[:n])
		if total += n; err != nil {
			return
		}
	}
}
