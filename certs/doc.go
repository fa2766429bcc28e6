// Package certs issues certificates, revocation lists and whole trust
// communities, and reads and writes the files they travel in: PEM, DER and
// PKCS#12. It issues what it is asked for, faults included: judging is the
// business of package udap.
package certs
