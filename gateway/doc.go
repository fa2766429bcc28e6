// Package gateway passes HTTP/1.1 between TLS connections byte for byte, or not at
// all, and remembers the digest of each message.
//
// A Gateway reads of a request only what shows where it goes and where it ends (see
// package wire), chooses a route by the Host and a prefix of the target, and forwards
// the very bytes on an upstream connection that belongs to this client alone; the
// same for the answers. It has no part in trust: it can neither verify a certificate
// of a community nor read a resource, and imports nothing that could.
//
// One goroutine serves a connection: relay (exchange.go) reads a head, routes it,
// sends it on and relays the answer. A second one (pump.go) runs only while the body
// of a request is incomplete. Time limits are held by one janitor for all
// connections (deadline.go), so that passing a message sets no timer. A next hop may
// have several addresses (endpoint.go): which one a new connection leads to, and which
// are out for a while because they did not accept one, is decided before anything of a
// request is sent.
package gateway
