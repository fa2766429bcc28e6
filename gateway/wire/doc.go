// Package wire follows HTTP/1.1 messages on a connection without becoming a
// party to them: where each begins and ends (RFC 9112), and its SHA-256, framing
// included. It never rewrites, normalises or keeps content.
//
// The three things in it, from the inside out:
//
//   - ParseRequest, ParseResponse and Body find where a message ends, and refuse
//     whatever two readers could frame differently.
//   - Tap follows the bytes of one direction of a connection as they come and
//     emits one Message for each message that went by.
//   - Listener and Client put Followers on real connections. A Listener terminates
//     TLS itself, with a deadline, and can refuse ambiguous framing before
//     net/http reads it; see Listener for how a destination uses it.
package wire
