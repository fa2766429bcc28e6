// Package async does FHIR requests in the background: a job is stored, a few
// workers do the stored jobs one after the other, and the client that began a job
// asks for its status and downloads what it has made (R4 async.html; Bulk Data
// Access 2.0).
//
// A job belongs to its client. Whoever asks for it must present a valid token of
// the same client that covers the scopes the job was begun with; for everybody else
// the job does not exist. A job survives a restart: what had not ended is done
// again from its beginning, or goes on where it was if its kind can do that.
package async
