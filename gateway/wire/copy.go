package wire

import "bytes"

// Copy gets one request and its answer as they were on the wire. Its methods are
// called one at a time, must be quick, and must not keep what they are given.
type Copy interface {
	// RequestHead gets the request line and the fields, with the empty line; of a
	// request that is refused for its framing, what arrived of it.
	RequestHead(head []byte)
	// RequestBody gets the next part of the body, without framing.
	RequestBody(content []byte)
	// AnswerHead gets the head of the final response.
	AnswerHead(head []byte)
	AnswerBody(content []byte)
	// Ended is called once, when both are over. A message that never began has no
	// bytes; cut: the connection ended before the response did.
	Ended(request, answer *Message, cut bool)
}

// copied is an exchange that is being copied.
type copied struct {
	to              Copy
	request, answer Message
	whole, answered bool // the request and the answer have ended
	cut             bool
}

// end notes that one of the messages has ended.
func (c *copied) end(which *bool) {
	if *which = true; c.whole && c.answered {
		c.to.Ended(&c.request, &c.answer, c.cut)
	}
}

// begin asks whether a request that begins is to be copied.
func (t *Tap) begin(head []byte) *copied {
	if t.copy == nil {
		return nil
	}
	to := t.copy(t.conn, head)
	if to == nil {
		return nil
	}

	to.RequestHead(head)
	return &copied{to: to}
}

// copyBroken begins to copy a request whose framing is refused.
func (t *Tap) copyBroken(head []byte) {
	if t.copy == nil {
		return
	}
	t.reading = t.begin(bytes.Clone(head))
	if t.reading != nil {
		t.waiting = append(t.waiting, asked{
			seq:    t.seq + 1,
			copied: t.reading,
		})
	}
}

// cut notes that the response that is under way does not come to its end.
func (t *Tap) cut(is bool) {
	if c := t.first().copied; c != nil {
		c.cut = is
	}
}

// endCopies ends what the end of the connection has left open.
func (t *Tap) endCopies() {
	for _, a := range t.waiting {
		c := a.copied
		if c == nil {
			continue
		}

		c.cut = true
		c.whole = true
		c.end(&c.answered)
	}
}

// copyOfFirst returns what the request that is being answered is copied to.
func (t *Tap) copyOfFirst() Copy {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.first().copied; c != nil {
		return c.to
	}
	return nil
}
