package wire

import (
	"bytes"
	"net/url"
)

// guard holds the bytes of requests back until their framing has been checked, so
// that a reader behind it never sees an ambiguous one. It keeps no buffer between
// messages.
type guard struct {
	buf    []byte // received; buf[:passed] may be delivered
	passed int
	scan   Head
	body   Body
	inBody bool
	err    error // the framing fault: nothing passes any more
}

// deliver copies passed bytes to p.
func (g *guard) deliver(p []byte) int {
	n := copy(p, g.buf[:g.passed])
	g.passed -= n
	g.buf = g.buf[n:]
	if len(g.buf) == 0 {
		g.buf = nil
	}
	return n
}

// pass checks p, read straight into the reader's buffer while a body is under way
// and nothing is held, and returns how much of it the reader may have; what follows
// the body is held.
func (g *guard) pass(p []byte) int {
	n := g.follow(p)
	g.hold(p[n:])
	return n
}

// hold adds received bytes and checks as far as they go.
func (g *guard) hold(p []byte) {
	g.buf = append(g.buf, p...)
	for g.err == nil && g.passed < len(g.buf) {
		rest := g.buf[g.passed:]
		if g.inBody {
			g.passed += g.follow(rest)
			continue
		}

		end := g.checkHead(rest)
		if end == 0 {
			return
		}
		g.passed += end
	}
}

// checkHead returns the length of a complete and clear head, else 0.
func (g *guard) checkHead(b []byte) int {
	end, err := g.scan.End(b, MaxHead)
	if err == nil && end == 0 {
		return 0
	}

	var r Request
	if err == nil {
		err = ParseRequest(b[:end], &r)
	}
	if err == nil {
		err = r.unread()
	}
	if err != nil {
		g.err = err
		return 0
	}

	g.scan, g.body, g.inBody = Head{}, NewBody(r.Framing, r.Length), r.Framing != None
	return end
}

// unread returns why net/http would refuse a request that is framed well.
func (r *Request) unread() error {
	if r.Unread != nil || r.Target[0] == '/' && bytes.IndexByte(r.Target, '%') < 0 {
		return r.Unread
	}

	target := string(r.Target)
	if string(r.Method) == "CONNECT" && target[0] != '/' {
		target = "http://" + target
	}
	if _, err := url.ParseRequestURI(target); err != nil {
		return errTargetForm
	}

	return nil
}

func (g *guard) follow(p []byte) int {
	n, done, err := g.body.Feed(p)
	if err != nil {
		g.err = err
	}
	g.inBody = !done
	return n
}

// direct reports whether the next bytes may be read into the reader's own buffer.
func (g *guard) direct() bool {
	return g.err == nil && g.inBody && len(g.buf) == 0
}

// atHead reports whether the fault is in a head, so that no reader has seen any
// of the request.
func (g *guard) atHead() bool { return !g.inBody }
