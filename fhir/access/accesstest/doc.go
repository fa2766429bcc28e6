// Package accesstest has the property test of access: whatever is asked, no answer shows
// more than what its token may read, and no write changes more than what it may change.
package accesstest
