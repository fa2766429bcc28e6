// Package async does FHIR requests in the background: a job is stored, a few
// workers do the stored jobs one after the other, and the client that began a job
// asks for its status and downloads what it has made (R4 async.html; Bulk Data
// Access 2.0).
//
// A job belongs to its client. Whoever asks for it must present a valid token of
// the same client that covers the scopes the job was begun with; for everybody else
// the job does not exist. A job survives a restart: what had not ended is done
// again from its beginning, or goes on where it was if its kind can do that.
//
// Destinations may share a store of jobs and their files. Each worker of each of them
// claims a job for the time of a lease, which it renews; when it does not, another
// one begins a new attempt. An attempt has a number, and once there is a later one,
// nothing that it still does is accepted: neither by the store of jobs, nor by the
// files, nor, for what changes resources, by the store of resources, where the job's
// mark is read and set in the transaction of the change. Any destination answers for
// all jobs; how far one is, the others know from what is stored with the lease.
package async
