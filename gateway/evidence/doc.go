// Package evidence keeps, for one hop, one JSON line per message with its length and
// SHA-256 (Log), and compares the lines of several hops (Compare). It holds no
// target, header or body, so that evidence can be handed to whoever asks.
package evidence
