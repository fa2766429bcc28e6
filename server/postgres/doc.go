// Package postgres stores what the destination must not lose in a PostgreSQL
// database, which any number of destinations share, and implements the interfaces
// that their callers declare. Each store is a schema of its own: trust has the
// registrations, used jti and tokens of server/oauth, fhir the resources of fhir and
// their index, jobs the work in the background. No transaction spans two of them,
// and each has connections of its own, so that a bulk load never delays a token.
//
// What must be unique is so by a constraint, checked in the transaction of its
// effect. What one process remembers is either checked against the database in the
// transaction that depends on it, or cannot change.
package postgres
