// Package board has the pages of the lab: the list of sessions, and of each session
// a live board on which every client is a lane and every step that it makes a card.
// A card opens to the request as it was on the wire, the tokens in it decoded, the
// path of its certificates, every check and what was answered.
//
// Pages are complete without scripts. With them, a board changes as requests arrive:
// the server renders what changed and sends it as server-sent events, so that a page
// has a bounded number of elements however many requests a session has.
package board
