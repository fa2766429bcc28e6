package gateway

import (
	"errors"
	"io"
	"time"

	"fhirdest.example/gateway/wire"
)

// maxInterim bounds the interim answers to one request.
const maxInterim = 100

// relay reads the answers and passes them.
func (x *exchange) relay() bool {
	defer x.answers.release()
	for {
		var r wire.Response
		head, f := x.answerHead(&r)
		if f != nil {
			return x.refuse(f)
		}
		if r.Status == 101 {
			return x.refuse(faultSwitch.because("it switched protocols", nil))
		}
		if !r.Interim() {
			return x.pass(head, &r)
		}
		if x.interim++; x.interim > maxInterim {
			return x.refuse(faultAnswer.because("too many interim answers", nil))
		}

		if !x.toClient(x.answers.bytes()[:head]) {
			return x.cutAnswer(&r)
		}

		if r.Status == 100 && x.pump != nil {
			x.continued = true
			x.pump.resume()
		}

		x.recordResponse(r.Status)
		x.answers.consume(head)
		x.response.reset(x.response.off)
	}
}

// answerHead reads one head from the next hop and returns its length.
func (x *exchange) answerHead(r *wire.Response) (int, *fault) {
	var scan wire.Head
	for {
		if b := x.answers.bytes(); len(b) > 0 {
			end, err := scan.End(b, wire.MaxResponseHead)
			if err == nil && end > 0 {
				x.response.begin(x.g.now)
				err = wire.ParseResponse(b[:end], x.method, r)
			}
			if err != nil {
				return 0, answerFault(err)
			}
			if end > 0 {
				return end, nil
			}
		}

		x.deadline.awaits(&x.g.janitor, x.up.raw, x.state.times.FirstByte)
		n, err := x.answers.fill(x.up.tls, wire.MaxResponseHead)
		switch {
		case n > 0 || err == nil:
		case err == errNoMemory:
			return 0, faultLarge
		case err == io.ErrShortBuffer:
			return 0, faultAnswer.because("its head is too long", nil)
		default:
			return 0, x.noAnswer(err)
		}
	}
}

// noAnswer returns why no answer came; err ended the wait for it.
func (x *exchange) noAnswer(err error) *fault {
	if x.deadline.clientGone() {
		return faultGone
	}
	if x.deadline.over() {
		return faultNoAnswer.because("no answer in time", nil)
	}

	if x.pump != nil {
		if f := x.pump.fault.Load(); f != nil {
			return f
		}
	}

	f := faultClosed.because("it closed without an answer", err)
	if x.first && x.interim == 0 && x.way.route.several() {
		// It accepts connections and ends them: with the fewest, it would have all new clients.
		x.g.noteRefusal(x.way.route, x.endpoint, f)
	}
	return f
}

// answerFault returns why an answer cannot be passed.
func answerFault(err error) *fault {
	var e *wire.Error
	if errors.As(err, &e) {
		return faultAnswer.because(e.Reason, nil)
	}
	return faultAnswer.because("it cannot be framed", err)
}

// pass passes the final answer. Bytes beyond its end that are there already make all
// of it doubtful; nothing of it has gone out yet.
func (x *exchange) pass(head int, r *wire.Response) bool {
	body := wire.NewBody(r.Framing, r.Length)
	b := x.answers.bytes()
	n, done, err := body.Feed(b[head:])
	if err != nil {
		return x.refuse(answerFault(err))
	}
	if done && head+n < len(b) {
		return x.refuse(faultAnswer.because("more follows it", nil))
	}

	x.begun = true
	x.holdBody()
	if !x.toClient(b[:head+n]) {
		return x.cutAnswer(r)
	}

	x.answers.consume(head + n)
	if !done {
		if f := x.passBody(&body); f != nil {
			x.note(f)
			return x.cutAnswer(r)
		}
	}

	x.g.answered(x.way.route)
	if x.first {
		x.g.endpoints.proven(x.endpoint)
	}
	x.recordResponse(r.Status)
	return x.finish(r)
}

// passBody passes the rest of an answer as it comes, or returns why it cannot.
func (x *exchange) passBody(body *wire.Body) *fault {
	for done := false; !done; {
		room, err := x.answers.room(bufferSize)
		if err != nil {
			return faultBusy // all that came has been passed
		}

		x.deadline.reads(&x.g.janitor, x.up.raw, x.state.times.Stall)
		n, err := readRecords(x.up.tls, x.up.raw, room)
		if n == 0 && err != nil {
			if body.EndsAtClose() && x.up.closed(err) {
				return nil
			}
			return x.cutShort(err)
		}

		k := 0
		k, done, err = body.Feed(room[:n])
		switch {
		case !x.toClient(room[:k]):
			return faultGone
		case err != nil:
			return faultCut.because("it cannot be framed", err)
		case done && k < n:
			return faultCut.because("more follows it", nil)
		}

		if n == len(room) {
			x.answers.widen()
		}
	}

	return nil
}

// cutShort returns why an answer has no end.
func (x *exchange) cutShort(err error) *fault {
	switch {
	case x.deadline.clientGone():
		return faultGone
	case x.deadline.over():
		return faultCut.because("its answer stalled", nil)
	}
	return faultCut.because("it closed within an answer", err)
}

// toClient sends bytes of an answer on, at once.
func (x *exchange) toClient(p []byte) bool {
	x.owe(&x.response)
	begun := x.g.janitor.clock()
	x.deadline.writes(&x.g.janitor, x.raw, x.writeLimit())
	n, err := x.tls.Write(p)
	x.written += int64(n)
	x.blocked += x.g.janitor.clock() - begun
	if err != nil {
		x.response.received(p)
		x.response.sent(p[:n])
		return false
	}

	x.response.passed(p)
	return true
}

// writeLimit is how long the client has for the next piece of an answer. One that
// reads below the least rate has ever less.
func (x *exchange) writeLimit() time.Duration {
	limit, rate := x.state.times.Write, x.state.limits.AnswerRate
	if rate <= 0 {
		return limit
	}
	allowed := limit + time.Duration(float64(x.written)/float64(rate)*float64(time.Second))
	return max(time.Millisecond, min(limit, allowed-x.blocked))
}

// holdBody stops the request's body before a final answer that comes where 100 was
// awaited: the client may now keep the body to itself, so that what it sends next can
// not be framed and must not pass.
func (x *exchange) holdBody() {
	if x.pump != nil && x.req.Continue && !x.continued && !x.pump.moved.Load() {
		x.pump.keepsUpstream.Store(true)
		x.endPump(false)
	}
}
