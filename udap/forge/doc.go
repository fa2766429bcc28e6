// Package forge makes signed documents, right or wrong: JWTs with any header, any
// claims and any chain of certificates. Its functions return errors, so that
// programs can use them as well as tests; package udaptest wraps them for tests.
package forge
