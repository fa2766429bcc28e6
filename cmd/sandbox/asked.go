package main

import (
	"net"
	"strings"

	"fhirdest.example/gateway/wire"
)

// place is a request of the originator, as its evidence has it.
type place struct {
	conn string
	seq  uint64
}

// asked is what the originator asked for.
type asked struct{ method, target string }

// purpose is what a request is for.
func (a asked) purpose() string {
	path, query, _ := strings.Cut(a.target, "?")
	last := path[strings.LastIndexByte(path, '/')+1:]
	_, inBase, isFHIR := strings.Cut(path, "/fhir/")
	switch {
	case strings.Contains(path, "/.well-known/"):
		return "discovery"
	case last == "register":
		return "registration"
	case last == "token":
		return "token"
	case last == "metadata":
		return "capabilities"

	case strings.Contains(path, "/callback/"):
		return "callback"
	case strings.Contains(path, "/api/"):
		return "report" // of a session of the lab
	case !isFHIR:
		return last
	case a.method != "GET":
		return "change"
	case query != "" || !strings.Contains(inBase, "/"):
		return "search"
	}

	return "read"
}

// shown is a target as a report shows it: without the query of what is asked of the
// authorization server, where codes and states are.
func shown(target string) string {
	path, _, _ := strings.Cut(target, "?")
	if strings.Contains(path, "/fhir/") {
		return target
	}
	return path
}

// asking is a connection that notes what is asked for on it.
type asking struct {
	net.Conn
	note func(a asked)

	scan   wire.Head
	head   []byte // of a request that has not come whole
	body   wire.Body
	inBody bool
}

// Write sends bytes of requests.
func (a *asking) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := a.follow(rest)
		rest = rest[n:]
	}
	return a.Conn.Write(p)
}

// follow reads bytes of one request, as many as belong to it.
func (a *asking) follow(p []byte) int {
	if a.inBody {
		n, done, err := a.body.Feed(p)
		if a.inBody = !done; err != nil || n == 0 && !done {
			return len(p)
		}
		return n
	}

	before := len(a.head)
	a.head = append(a.head, p...)
	end, err := a.scan.End(a.head, wire.MaxHead)
	if err != nil || end == 0 {
		return len(p)
	}

	var r wire.Request
	if err := wire.ParseRequest(a.head[:end], &r); err == nil {
		a.note(asked{r.MethodName(), shown(string(r.Target))})
		a.body = wire.NewBody(r.Framing, r.Length)
		_, done, _ := a.body.Feed(nil)
		a.inBody = !done
	}

	a.head = nil
	a.scan = wire.Head{}
	return end - before
}
