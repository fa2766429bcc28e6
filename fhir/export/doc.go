// Package export exports resources as NDJSON (Bulk Data Access 2.0): all of the
// server, those of patients, or those of a Group's members, as far as the grant of
// whoever asks reads and searches them.
//
// An export is of one state of the store, without holding that state open: what a
// long-lived transaction of a Bolt file would do to writers is not acceptable. It
// notes the newest change when it begins, goes through the resources by their
// numbers in short transactions, and gives of each the version that was current at
// that change: the log of changes names what has changed since.
package export
