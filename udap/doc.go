// Package udap verifies signed documents: a software
// statement, an authentication token, a certification or a server's signed
// metadata, by the rules of HL7 UDAP Security 2.0 (and 1.x where a
// community's policy selects it) and of the UDAP.org profiles under it.
//
// Every decision is an ordered list of named checks that leaves a Trace. The
// package opens no file and no connection: revocation lists, the clock and
// stored registrations are handed in by the caller.
package udap
