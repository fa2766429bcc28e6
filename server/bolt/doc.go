// Package store keeps what the destination must not lose in Bolt files, and
// implements the interfaces that its callers declare: trust.bolt holds
// registrations, spent jti and tokens for server/oauth, fhir.bolt resources
// and their index for fhir. No transaction spans both, so that a bulk load
// never delays a token.
package bolt
