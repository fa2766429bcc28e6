package lab

import (
	"bytes"
	"encoding/hex"
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"strings"
	"sync"

	"fhirdest.example/gateway/wire"
	"fhirdest.example/udap/conform"
)

// maxHeadKept is how many bytes of a message's head are kept.
const maxHeadKept = 64 << 10

// capture copies one request and its answer from the wire. It ends when both are over
// and the handler, if the request came to one, has returned: only then is everything
// decided.
type capture struct {
	live *live
	over chan struct{} // closed once it is handed on, or is none

	mu       sync.Mutex
	exchange conform.Exchange
	ended    bool // on the wire
	serving  bool // a handler is at work
	reached  bool // the request came to the session's site
	none     bool // it is none of the session's, or is handed on
	settled  bool // nobody waits for it any more
}

// Copy is for the listener: it returns what captures a request, or nil for one that
// belongs to no session.
func (s *Service) Copy(from net.Addr, conn string, head []byte) wire.Copy {
	method, target := requestLine(head)
	at := s.locate(target)
	if at.live == nil || strings.HasPrefix(at.rest, "/api/") {
		return nil
	}
	if at.plain && s.plainRate.Acquire("", s.cfg.Now()) > 0 {
		at.live.lose(1)
		return nil
	}

	c := &capture{
		live: at.live,
		over: make(chan struct{}),
		exchange: conform.Exchange{
			Address: address(from),
			Conn:    conn,
			Method:  method,
			Target:  target,
		},
	}
	c.live.begin(c)

	return c
}

// requestLine returns method and target of a head, which may be broken.
func requestLine(head []byte) (method, target string) {
	line, _, _ := bytes.Cut(head, []byte("\n"))
	line = bytes.TrimRight(line, "\r")
	line = line[:min(len(line), maxHeadKept)]
	first, rest, _ := strings.Cut(string(line), " ")
	if i := strings.LastIndex(rest, " HTTP/"); i >= 0 {
		rest = rest[:i]
	}
	return readable(first), readable(rest)
}

// readable returns bytes of a client as a text that can be stored as JSON.
func readable(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func address(from net.Addr) string {
	if from == nil {
		return ""
	}
	peer, err := netip.ParseAddrPort(from.String())
	if err != nil {
		return ""
	}
	return peer.Addr().Unmap().String()
}

// RequestHead implements wire.Copy.
func (c *capture) RequestHead(head []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.exchange.Request.Head = bytes.Clone(head[:min(len(head), maxHeadKept)])
	c.exchange.Received = c.live.service.cfg.Now()
}

// RequestBody implements wire.Copy.
func (c *capture) RequestBody(content []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	addBody(&c.exchange.Request, content)
	c.exchange.Received = c.live.service.cfg.Now()
}

// AnswerHead implements wire.Copy.
func (c *capture) AnswerHead(head []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.exchange.Answer.Head = bytes.Clone(head[:min(len(head), maxHeadKept)])
}

// settle ends what waits for the exchange. The caller holds mu.
func (c *capture) settle() {
	if !c.settled {
		c.settled = true
		c.live.over(c)
		close(c.over)
	}
}

// AnswerBody implements wire.Copy.
func (c *capture) AnswerBody(content []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	addBody(&c.exchange.Answer, content)
}

func addBody(m *conform.Message, content []byte) {
	m.Length += int64(len(content))
	room := max(0, conform.MaxKept-len(m.Body))
	m.Body = append(m.Body, content[:min(len(content), room)]...)
}

// Ended implements wire.Copy.
func (c *capture) Ended(request, answer *wire.Message, cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := &c.exchange
	e.Seq = request.Seq
	e.Request.SHA256 = hex.EncodeToString(request.In.Sum[:])
	e.Status = answer.Status
	e.Cut = cut
	e.Answered = c.live.service.cfg.Now()

	if answer.Out.Bytes > 0 {
		e.Answer.SHA256 = hex.EncodeToString(answer.Out.Sum[:])
	}

	c.ended = true
	c.hand()
}

// begin notes that a handler begins to work on the request. Whether that reaches the
// session is known at once, or is found out by one that begins later: a page of the lab
// is none of the session's.
func (c *capture) begin(reaches bool) {
	if c == nil {
		return
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	c.serving = true
	if reaches {
		c.reached = true
	} else {
		c.settle() // it may last
	}
}

// done notes that the handler has returned.
func (c *capture) done() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.serving = false
	if !c.reached {
		c.none = true
	}
	c.hand()
}

// hand hands the exchange on once it is over. The caller holds mu.
func (c *capture) hand() {
	if !c.ended || c.serving || c.none {
		return
	}

	c.none = true // once
	e := c.exchange
	handed := captured{
		live:     c.live,
		exchange: &e,
		traces:   traceIDs(e.Answer.Head),
	}
	if !c.live.service.inbox.put(handed) {
		c.live.lose(1)
	}

	c.settle()
}

// noteFault notes that the answer has a deliberate fault.
func (c *capture) noteFault(name string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.exchange.Fault = name
	c.exchange.FaultFrom = c.live.service.cfg.Now()
}

// captureOf returns what captures a request; nil when nothing does.
func captureOf(r *http.Request) *capture {
	c, _ := wire.CopyOf(r.Context()).(*capture)
	return c
}

// traceIDs returns the ids of the decisions that an answer names.
func traceIDs(head []byte) (ids []string) {
	for line := range bytes.SplitSeq(head, []byte("\n")) {
		name, value, found := bytes.Cut(line, []byte(":"))
		if found && strings.EqualFold(string(name), "Trace-Id") {
			ids = append(ids, textproto.TrimString(string(value)))
		}
	}
	return ids
}
