// Package console lets a person, or a program on the same machine, watch a
// destination decide: traces as JSON and as plain pages, readiness with the
// state of communities, revocation lists and certificates, and metrics. It
// is on the administration listener, which no gateway reaches.
package console
