package fhir

import (
	"strconv"
	"strings"
	"time"
)

// Record is the content of one AuditEvent. Stores need to keep no more than this, a
// fraction of the AuditEvent's length; the resource is made when somebody reads
// it.
type Record struct {
	// What many records have in common: the server's base URL, and whose
	// request it was.
	Base, Client, TokenID string
	Purposes              []string

	At          time.Time
	Interaction string // name of the interaction
	Subtype     string // its code in AuditEvent.subtype
	Outcome     string // AuditEvent.outcome: 0, 4 or 8
	Failure     string // status and issue code, when it failed
	Query       string // what was asked, of a query
	RequestID   string // the client's own name for the request
	Patients    []string
	Touched     []Entry // type, id and version of what it was about; not of a query
}

const recordPrefix = "a"

// RecordID is the id of the AuditEvent of a record that has that number.
func RecordID(doc uint64) string {
	return recordPrefix + strconv.FormatUint(doc, 10)
}

// RecordDoc gives the number of a record by its AuditEvent's id.
func RecordDoc(id string) (doc uint64, ok bool) {
	text, ok := strings.CutPrefix(id, recordPrefix)
	doc, err := strconv.ParseUint(text, 10, 64)
	return doc, ok && err == nil && RecordID(doc) == id
}
