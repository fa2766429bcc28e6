// Package oauth is the destination's authorization server: it registers
// clients by their software statements, issues opaque tokens for
// authentication tokens, answers introspection and revocation, and publishes
// the metadata by which clients find all that (UDAP Security 2.0, and 1.x
// where a community's policy says so).
//
// Each endpoint is an HTTP shell around a protocol core that tests call
// without HTTP: serveRegister around Service.Register, and so on. Whom to
// believe is udap's business; what follows from it is decided here, every
// decision as a named check in the request's trace. What must not be lost is
// kept behind Store.
package oauth
