// Package evidence keeps, for one hop, one JSON line per message with its length and
// SHA-256 (Log), and compares the lines of several hops (Compare). It holds no
// target, header or body, so that evidence can be handed to whoever asks.
//
// A gateway whose route is mapped replaces prefix and Host of each request: its line
// says "mapped":true, and its sha256Out is another than its sha256In. Compare follows
// such a message on by what was sent, and so still names a hop that tampers with it
// later. What the gateway changed beyond prefix and Host no digest can tell: who doubts
// it compares with a hop that has both forms.
package evidence
