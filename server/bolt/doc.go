// Package bolt stores what the destination must not lose in Bolt files, and
// implements the interfaces that its callers declare: trust.bolt has the
// registrations, used jti and tokens of server/oauth, fhir.bolt the resources of
// fhir and their index. No transaction spans both, so that a bulk load never
// delays a token.
//
// Callers that wait share a transaction (see committer), and one caller's failure
// is nobody else's. Every row ends in a checksum (see rows): a row whose bytes
// changed is a *Damaged for whoever needs it, and an alarm, and never an answer or
// the lack of one. Before Bolt maps a file, its pages are checked (see checkFile).
// Files of earlier layouts are brought to the present one step by step.
package bolt
