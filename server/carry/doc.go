// Package carry describes what a destination keeps as rows that belong to no engine,
// and copies them from one engine to another: a backup of a destination on PostgreSQL
// consists of Bolt files, and either engine can be restored from them.
//
// Numbers, versions, changes and audit records keep what they are known by, so that
// links to versions and pages, and the hashes of the audit record, hold on either
// side. Not copied are tokens, grants, launches, sessions and remembered consents: what was
// revoked or withdrawn after a backup must not come to life by it, so that no restore
// brings them back. Work in the background is not copied either: its results are
// files that expire, and clients ask for them again.
package carry
