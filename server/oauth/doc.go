// Package oauth is the destination's authorization server: it registers
// clients by their software statements, verifies authorization requests and makes
// codes of what an Interaction had a person approve, issues opaque tokens to
// authenticated clients, answers introspection and revocation, and publishes
// the metadata by which clients find these endpoints (UDAP Security 2.0, and
// 1.x where a community's policy has that edition).
//
// Each endpoint is an HTTP shell around a protocol core that tests call
// without HTTP: serveRegister around Service.Register, and so on. Package udap
// verifies what clients sign; what a verified client gets is decided here, each
// decision as a named check in the request's trace. A Store has what must not
// be lost.
package oauth
