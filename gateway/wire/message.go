package wire

import (
	"crypto/sha256"
	"time"
)

// Message is what is remembered of one message on one hop: never its target,
// header or body.
type Message struct {
	// Time is when its first byte was seen.
	Time time.Time
	// Conn names the connection, uniquely within the hop; Seq counts its requests
	// from 1. A response has the Seq of its request; interim answers share it.
	Conn string
	Seq  uint64
	// Route is the gateway's name for where it went, else empty.
	Route string
	// Response is true for a response, false for a request.
	Response bool
	// Method is the request's, on responses too; empty when it was never read.
	Method string
	// Status is 0 on requests.
	Status int
	// Mapped: the hop replaced prefix and Host of a request, as its route has it, and
	// passed all else.
	Mapped bool
	// Address is where the hop sent the request, host:port, where the next hop has several
	// addresses; on responses too. Else it is empty.
	Address string
	// Owed: the message was announced to the record before it went out.
	Owed bool
	// In is what was received and Out what was sent on, framing included. Who has
	// one wire only sets both to the same.
	In, Out Digest
}

// Digest is a count of bytes and their SHA-256.
type Digest struct {
	Bytes int64
	Sum   [sha256.Size]byte
}
