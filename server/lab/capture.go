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

	mu       sync.Mutex
	exchange conform.Exchange
	ended    bool // on the wire
	serving  bool // a handler is at work
	none     bool // it is none of the session's: a page of the lab
	answered bool // its answer has begun, and it is not handed on yet: the session counts it
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

	return &capture{
		live: at.live,
		exchange: conform.Exchange{
			Address: address(from),
			Conn:    conn,
			Method:  method,
			Target:  target,
		},
	}
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
	return first, rest
}

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
	if !c.none && !c.answered {
		c.answered = true
		c.live.answers(1)
	}
}

// settle ends that the session counts the capture. The caller holds mu.
func (c *capture) settle() {
	if c.answered {
		c.answered = false
		c.live.answers(-1)
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

// begin notes that a handler of the session begins to work on the request.
func (c *capture) begin() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.serving = true
}

// done notes that the handler has returned.
func (c *capture) done() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.serving = false
	c.hand()
}

// discard notes that the request is for a page of the lab.
func (c *capture) discard() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.none = true
	c.settle()
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
