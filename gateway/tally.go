package gateway

import (
	"crypto/sha256"
	"hash"
	"sync"
	"time"

	"fhirdest.example/gateway/wire"
)

// tally counts and digests one message as it comes in and as it goes out. As long as
// what goes out is what came in, the same bytes in the same buffer, one digest is
// that of both.
type tally struct {
	off     bool // without evidence only bytes are counted
	in, out hash.Hash
	nIn     int64
	nOut    int64
	split   bool
	owed    bool // it has been announced to the evidence
	began   time.Time
}

func (t *tally) reset(off bool) {
	if t.in == nil && !off {
		t.in = sha256.New()
	}
	if !off && t.nIn+t.nOut > 0 {
		t.in.Reset()
	}
	t.off, t.nIn, t.nOut, t.split, t.owed = off, 0, 0, false, false
}

// begin notes when the message began.
func (t *tally) begin(now func() time.Time) {
	if !t.off {
		t.began = now()
	}
}

// passed adds bytes that came in and have gone out, all of them.
func (t *tally) passed(p []byte) {
	if t.split {
		t.received(p)
		t.sent(p)
		return
	}

	t.nIn += int64(len(p))
	t.nOut += int64(len(p))
	if !t.off {
		t.in.Write(p)
	}
}

// received adds bytes that came in and do not go out as they are.
func (t *tally) received(p []byte) {
	t.divide()
	t.nIn += int64(len(p))
	if !t.off {
		t.in.Write(p)
	}
}

// sent adds bytes that went out and did not come in as they are.
func (t *tally) sent(p []byte) {
	t.divide()
	t.nOut += int64(len(p))
	if !t.off {
		t.out.Write(p)
	}
}

// divide begins a digest of its own for what goes out.
func (t *tally) divide() {
	if t.split {
		return
	}

	t.split = true
	if t.off {
		return
	}
	if c, ok := t.in.(hash.Cloner); ok {
		if h, err := c.Clone(); err == nil {
			t.out = h
		}
	}
}

// fill puts the digests into a record.
func (t *tally) fill(m *wire.Message) {
	m.Time = t.began
	m.Owed = t.owed
	m.In.Bytes, m.Out.Bytes = t.nIn, t.nOut
	t.in.Sum(m.In.Sum[:0])
	m.Out.Sum = m.In.Sum
	if t.split {
		t.out.Sum(m.Out.Sum[:0])
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
