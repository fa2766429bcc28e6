// Package udaptest makes small worlds of trust for tests: two trust communities
// and a stranger, clients of theirs, lists of what is revoked, and signed things
// with any one member changed. Everything in it is real: keys, certificates,
// lists and signatures are made by package certs and crypto/x509.
package udaptest
