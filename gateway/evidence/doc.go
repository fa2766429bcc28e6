// Package evidence keeps, for one hop, one JSON line per message with its length and
// SHA-256 (Log), and compares the lines of several hops (Compare). It holds no
// target, header or body, so that evidence can be handed to whoever asks.
//
// A gateway whose route is mapped replaces prefix and Host of each request: its line has
// "mapped":true, and another sha256Out than sha256In. Compare follows such a message by
// the bytes that were sent, and so still names a hop that changes it later. Whether the
// gateway changed more than prefix and Host, no digest shows.
//
// Compare pairs whole exchanges, a request with its answers, and then holds connections,
// order and times of the hops to each other. What honest ends and a dishonest hop between
// cannot prove is listed in its output.
package evidence
