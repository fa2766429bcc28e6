// Package udaptest makes environments of trust for tests: two trust communities
// and a stranger, their clients and CRLs, and signed documents with any one member
// changed. Everything in it is real: keys, certificates, CRLs and signatures are
// made by package certs and crypto/x509.
package udaptest
