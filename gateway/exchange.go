package gateway

import (
	"errors"
	"io"
	"sync"
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

// maxInterim bounds the interim answers to one request.
const maxInterim = 100

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

// owe announces a message to the evidence before its first byte goes out: a gateway that is
// killed before it has written the line then still owes it.
func (x *exchange) owe(t *tally) {
	if !t.off && !t.owed {
		t.owed = true
		x.g.evidence.Owe(1)
	}
}

// recordRequest writes the request's line, once.
func (x *exchange) recordRequest() {
	if x.recorded {
		return
	}
	x.recorded = true
	x.g.metrics.count(&x.request, false)
	x.record(&x.request, 0)
}

// recordResponse writes an answer's line.
func (x *exchange) recordResponse(status int) {
	x.g.metrics.count(&x.response, true)
	x.record(&x.response, status)
}

// lines holds what Record is given, which would otherwise be allocated for each message.
var lines = sync.Pool{New: func() any { return new(wire.Message) }}

func (x *exchange) record(t *tally, status int) {
	if t.off {
		return
	}

	m := lines.Get().(*wire.Message)
	defer lines.Put(m)
	*m = wire.Message{
		Conn:     x.id,
		Seq:      x.seq,
		Method:   x.method,
		Status:   status,
		Response: status > 0,
	}

	if r := x.way.route; r != nil {
		m.Route = r.Name
		if x.asked && r.several() {
			m.Address = x.endpoint.address
		}
	}

	t.fill(m)

	// One that was cut was not only mapped.
	m.Mapped = x.rewritten != nil && status == 0 && m.Out.Bytes == m.In.Bytes+x.grown
	x.g.evidence.Record(m)
}
