package evidence

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// key identifies the bytes of a message on one side of a hop.
type key struct {
	bytes int64
	sum   [sha256.Size]byte
}

// entry is the part of a line that the comparison keeps.
type entry struct {
	time     time.Time
	in, out  key
	method   string
	status   int
	response bool
	mapped   bool   // the hop replaced prefix and Host of the request, as its route demands
	straight bool   // the originator sent it past the hops between
	address  string // that the hop chose, where its next hop has several
}

// newEntry returns the entry of a sound line.
func newEntry(l *Line) *entry {
	e := &entry{
		time:     l.Time,
		in:       key{bytes: l.BytesIn},
		out:      key{bytes: l.BytesOut},
		method:   l.Method,
		status:   l.Status,
		response: l.Dir == "response",
		straight: l.Route == RouteStraight,
		address:  l.Address,
	}
	e.mapped = l.Mapped && !e.response

	hex.Decode(e.in.sum[:], []byte(l.SHA256In))   // sound has tried both
	hex.Decode(e.out.sum[:], []byte(l.SHA256Out)) // and knows their lengths
	return e
}

// final reports whether an answer is the last one to its request. One whose status could
// not be read ends everything on its connection.
func (e *entry) final() bool {
	return e.response && (e.status >= 200 || e.status == 0)
}

// own reports whether the hop made the message, or ended it: the other side has nothing.
func (e *entry) own() bool {
	return (e.in.bytes == 0) != (e.out.bytes == 0)
}

// changed reports whether the hop sent on other bytes than it received.
func (e *entry) changed() bool { return e.in != e.out }

// mute reports whether the hop could not read the message, and so has only its bytes.
func (e *entry) mute() bool {
	return e.method == "" || e.response && e.status == 0
}

// exchange is one request at one hop, and the answers to it.
type exchange struct {
	hop     int
	source  *source
	conn    *conn
	seq     uint64
	request *entry   // nil when the hop has none
	answers []*entry // in the order of the file
	fault   string   // what is impossible about it at its own hop, or empty
}

// final returns the final answer, or nil.
func (x *exchange) final() *entry {
	if n := len(x.answers); n > 0 && x.answers[n-1].final() {
		return x.answers[n-1]
	}
	return nil
}

// time returns when the exchange began at its hop.
func (x *exchange) time() time.Time {
	if x.request != nil {
		return x.request.time
	}
	return x.answers[0].time
}

// method returns the method of the request, by whichever line has it.
func (x *exchange) method() string {
	if x.request != nil {
		return x.request.method
	}
	return x.answers[0].method
}

// lasted returns how long the hop waited for the final answer.
func (x *exchange) lasted() (time.Duration, bool) {
	f := x.final()
	if f == nil || x.request == nil {
		return 0, false
	}
	return f.time.Sub(x.request.time), true
}

// ownAnswer returns the final answer when the hop gave it by itself, else nil.
func (x *exchange) ownAnswer() *entry {
	if f := x.final(); f != nil && f.in.bytes == 0 {
		return f
	}
	return nil
}

// ended reports whether the hop passed nothing of the request on.
func (x *exchange) ended() bool {
	return x.request != nil && x.request.out.bytes == 0
}

// conn is one connection of one hop: what may still come on it, and where it leads.
type conn struct {
	id     string
	open   []*exchange // begun and not whole, by number
	last   uint64      // the highest number so far
	closed uint64      // the number of an exchange that ended the connection; 0: none
	seen   time.Time   // when the latest message began

	// up is the connection of the hop before, and of the originator, to which all
	// exchanges of this one belong.
	up       [2]binding
	through  bool // it carried an exchange that every hop has
	straight bool // it carried one that the ends alone have
}

// binding is a connection at a hop nearer to the originator, with the numbers of the
// latest exchange on both.
type binding struct {
	conn     *conn
	seq, own uint64
}

// What is impossible at one hop, whatever the others have.
const (
	faultSecondRequest = "it has two requests under one number"
	faultSecondAnswer  = "it has two final answers to one request"
	faultNoRequest     = "it has an answer to no request"
	faultPassedOver    = "the request was never answered, and later ones on its connection were"
	faultGap           = "an exchange before this one on its connection is missing"
	faultGoesOn        = "the connection went on after an answer of the hop's own, which ends it"
)

// assemble adds a line to the exchange it belongs to, and returns that one when it is
// whole: the request and the final answer are there. A number that was whole before
// begins another exchange, which can only be a fault.
func (s *source) assemble(l *Line) *exchange {
	e := newEntry(l)
	k := s.connection(l.Conn, e.time)
	x := k.find(l.Seq)
	if x == nil || l.Seq == 0 || x.request != nil && !e.response {
		x = k.begin(s, l.Seq, x, e)
	}

	if e.response {
		x.answers = append(x.answers, e)
	} else {
		x.request = e
	}

	if e.final() {
		k.passOver(x.seq)
	}

	if x.request == nil || x.final() == nil {
		return nil
	}

	k.remove(x)
	if x.ownAnswer() != nil {
		k.closed = x.seq
	}
	return x
}

// connection returns the connection of that name.
func (s *source) connection(id string, at time.Time) *conn {
	k := s.conns[id]
	if k == nil {
		s.forget()
		k = &conn{id: id}
		s.conns[id] = k
	}

	if at.After(k.seen) {
		k.seen = at
	}
	if at.After(s.newest) {
		s.newest = at
	}

	return k
}

// connKept is how long a connection without messages is remembered, and connsKept how
// many are whatever their age.
const (
	connKept  = time.Hour
	connsKept = 50_000
)

// forget lets connections go that have long been idle, once there are many.
func (s *source) forget() {
	if len(s.conns) < max(connsKept, 2*s.live) {
		return
	}

	for id, k := range s.conns {
		if len(k.open) == 0 && s.newest.Sub(k.seen) > connKept {
			delete(s.conns, id)
		}
	}

	s.live = len(s.conns)
}

// find returns the exchange of that number that is not whole yet, or nil.
func (k *conn) find(seq uint64) *exchange {
	for i := len(k.open) - 1; i >= 0; i-- {
		if k.open[i].seq == seq {
			return k.open[i]
		}
	}
	return nil
}

// begin begins an exchange with e; same is an open one of that number, or nil.
func (k *conn) begin(s *source, seq uint64, same *exchange, e *entry) *exchange {
	x := &exchange{
		hop:    s.hop,
		source: s,
		conn:   k,
		seq:    seq,
	}
	switch {
	case seq == 0 && !e.response: // a line without a number is an exchange of its own
	case seq == 0:
		x.fault = faultNoRequest
	case same != nil || seq <= k.last && !e.response:
		x.fault = faultSecondRequest
	case seq <= k.last:
		x.fault = faultSecondAnswer
	case k.last > 0 && seq > k.last+1:
		x.fault = faultGap

	case k.closed > 0:
		x.fault = faultGoesOn
	}

	k.last = max(k.last, seq)
	k.open = append(k.open, x)
	return x
}

// passOver notes that the final answer to seq has been seen: answers come in the order
// of their requests (RFC 9112, 9.3.2), so that earlier ones will not be answered.
func (k *conn) passOver(seq uint64) {
	for _, x := range k.open {
		if x.seq < seq && x.final() == nil && x.fault == "" && seq > 0 && x.seq > 0 {
			x.fault = faultPassedOver
		}
	}
}

func (k *conn) remove(x *exchange) {
	for i, o := range k.open {
		if o == x {
			k.open = append(k.open[:i], k.open[i+1:]...)
			return
		}
	}
}
