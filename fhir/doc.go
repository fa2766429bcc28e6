// Package fhir serves FHIR R4 over stored bytes: what was sent is what is kept
// and given back, but for id and meta, and for URLs that name the server by
// another base than its public one (selfrefs.go). XML becomes JSON before anything
// else sees it, and JSON becomes XML last of all (negotiate.go, response.go).
//
// The package reads requests, validates what the reader's grant allows, and leaves
// storage to a Store and the question who is asking to its caller.
package fhir
