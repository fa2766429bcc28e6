package wire

import (
	"crypto/sha256"
	"hash"
	"sync"
	"time"
)

// Tap follows both directions of one connection and reports every message that
// went by. It only watches: where a message cannot be framed, everything from there
// to the end of that direction is reported as one message. Its methods may be
// called from different goroutines.
type Tap struct {
	conn   string
	record func(*Message)
	owe    func(n int)                         // nil: nobody asks
	copy   func(conn string, head []byte) Copy // nil: nobody asks
	now    func() time.Time

	mu        sync.Mutex
	requests  follower
	responses follower
	waiting   []asked // requests whose final response has not ended
	reading   *copied // what the request that is under way is copied to; nil: to nothing
	seq       uint64
	ended     bool
	lent      Message // to record, while it is called
}

// asked is a request that awaits its answer.
type asked struct {
	seq    uint64
	method string
	copied *copied // nil: to nothing
}

// NewTap follows the connection named conn; record is called, one call at a time,
// with a Message that it must not keep. Without record nothing is digested, and
// the Tap only knows which requests await an answer.
func NewTap(conn string, now func() time.Time, record func(*Message)) *Tap {
	t := &Tap{
		conn:   conn,
		now:    now,
		record: record,
	}

	if record != nil {
		t.requests.sum, t.responses.sum = sha256.New(), sha256.New()
	}
	return t
}

// Requests follows the next bytes of the requests' direction.
func (t *Tap) Requests(p []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(p) > 0 && !t.ended {
		t.announce(&t.requests)
		n, done := t.requests.feed(p, t.now, t.requestHead)
		if head := t.requests.broken; head != nil {
			t.requests.broken = nil
			t.copyBroken(head)
		}
		if p = p[n:]; done {
			t.endRequest()
		}
	}
}

// Answering announces that bytes of a response are about to go out.
func (t *Tap) Answering() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.announce(&t.responses)
}

// announce announces a message that begins, once.
func (t *Tap) announce(f *follower) {
	if t.owe != nil && !f.owed && !t.ended {
		f.owed = true
		t.owe(1)
	}
}

// Responses follows the next bytes of the responses' direction.
func (t *Tap) Responses(p []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(p) > 0 && !t.ended {
		t.announce(&t.responses)
		n, done := t.responses.feed(p, t.now, t.responseHead)
		t.responses.broken = nil
		if p = p[n:]; done {
			t.endResponse()
		}
	}
}

// Waiting returns how many requests still await the end of their final response.
func (t *Tap) Waiting() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.waiting)
}

// End reports what is unfinished: the connection is over.
func (t *Tap) End() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return
	}

	if t.requests.bytes > 0 {
		t.endRequest()
	}
	if t.responses.bytes > 0 {
		t.cut(!t.responses.inBody || !t.responses.body.EndsAtClose())
		t.endResponse()
	} else if t.responses.owed { // it could not be sent
		t.owe(-1)
	}

	t.endCopies()
	t.ended = true
}

// requestHead parses a complete request head and begins an exchange.
func (t *Tap) requestHead(head []byte, b *Body) (int, error) {
	var r Request
	if err := ParseRequest(head, &r); err != nil {
		return 0, err
	}

	t.seq++
	t.requests.method = r.MethodName()
	*b = NewBody(r.Framing, r.Length)
	if t.reading = t.begin(head); t.reading != nil {
		b.content = t.reading.to.RequestBody
	}
	t.waiting = append(t.waiting, asked{t.seq, t.requests.method, t.reading})
	return 0, nil
}

func (t *Tap) responseHead(head []byte, b *Body) (int, error) {
	var r Response
	if err := ParseResponse(head, t.first().method, &r); err != nil {
		return 0, err
	}
	*b = NewBody(r.Framing, r.Length)
	if c := t.first().copied; c != nil && r.Status >= 200 {
		c.to.AnswerHead(head)
		b.content = c.to.AnswerBody
	}
	return r.Status, nil
}

// first is the request that the current response answers.
func (t *Tap) first() asked {
	if len(t.waiting) == 0 {
		return asked{seq: t.seq + 1}
	}
	return t.waiting[0]
}

func (t *Tap) endRequest() {
	seq := t.seq
	if t.requests.method == "" { // its head was never understood
		seq++
	}
	m := t.report(&t.requests, Message{
		Seq:    seq,
		Method: t.requests.method,
	})
	if t.reading != nil {
		t.reading.request = m
		t.reading.end(&t.reading.whole)
		t.reading = nil
	}

	t.requests.next()
}

func (t *Tap) endResponse() {
	f, status := t.first(), t.responses.status
	m := t.report(&t.responses, Message{
		Seq:      f.seq,
		Response: true,
		Method:   f.method,
		Status:   status,
	})

	if f.copied != nil && status >= 200 {
		f.copied.answer = m
		f.copied.end(&f.copied.answered)
	}
	if status >= 200 && len(t.waiting) > 0 {
		t.waiting = append(t.waiting[:0], t.waiting[1:]...)
	}
	t.responses.next()
}

// report records the message that has ended in a direction, and returns it.
func (t *Tap) report(f *follower, m Message) Message {
	if t.record == nil {
		return m
	}
	d := f.digest()
	m.Time = f.began
	m.Conn = t.conn
	m.In = d
	m.Out = d
	m.Owed = f.owed
	t.lent = m
	t.record(&t.lent)
	return t.lent
}

// follower follows one direction.
type follower struct {
	scan   Head
	head   []byte // of a head that has not ended yet
	body   Body
	inBody bool
	lost   bool      // framing is lost; the rest is one message
	broken []byte    // the head at which it was lost, once
	sum    hash.Hash // nil: nobody asks for digests
	bytes  int64
	began  time.Time
	owed   bool
	method string
	status int
}

// feed follows bytes of one message, up to its end.
func (f *follower) feed(
	p []byte, now func() time.Time, judge func([]byte, *Body) (int, error),
) (n int, done bool) {
	if f.bytes == 0 && f.sum != nil {
		f.began = now()
	}
	n = len(p)
	switch {
	case f.lost:
	case f.inBody:
		n, done = f.follow(p)
	default:
		n, done = f.readHead(p, judge)
	}

	if f.sum != nil {
		f.sum.Write(p[:n])
	}
	f.bytes += int64(n)
	return n, done
}

// follow passes body bytes.
func (f *follower) follow(p []byte) (int, bool) {
	n, done, err := f.body.Feed(p)
	if err != nil {
		f.lost, n = true, len(p)
	}
	return n, done
}

// readHead looks for the end of the head, keeping the pieces of one that is split.
func (f *follower) readHead(p []byte, judge func([]byte, *Body) (int, error)) (int, bool) {
	whole, before := p, len(f.head)
	if before > 0 {
		f.head = append(f.head, p...)
		whole = f.head
	}
	end, err := f.scan.End(whole, MaxResponseHead)
	if err == nil && end == 0 {
		if before == 0 {
			f.head = append(f.head, p...)
		}
		return len(p), false
	}

	if err == nil {
		f.status, err = judge(whole[:end], &f.body)
	}
	f.head = nil
	if err != nil {
		f.lost, f.broken = true, whole
		return len(p), false
	}

	f.inBody = true
	_, done, _ := f.body.Feed(nil)
	return end - before, done
}

func (f *follower) digest() (d Digest) {
	d.Bytes = f.bytes
	f.sum.Sum(d.Sum[:0])
	return d
}

// next makes ready for the next message of the direction.
func (f *follower) next() {
	if f.sum != nil {
		f.sum.Reset()
	}
	*f = follower{
		sum:  f.sum,
		lost: f.lost,
	}
}
