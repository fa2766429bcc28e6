// Package trail is the audit record: what is kept of each event, the AuditEvent that
// it becomes (IHE Basic Audit Log Patterns, R4), and the chain of hashes that shows
// whether a record was altered, removed, inserted or moved.
package trail

import (
	"strconv"
	"strings"
	"time"

	"fhirdest.example/fhir/search"
)

// Record is the content of one AuditEvent. Stores need to keep no more than this, a
// fraction of the AuditEvent's length; the resource is made when somebody reads
// it.
type Record struct {
	// What many records have in common: the server's base URL, whose request it
	// was, and the network address that it came from.
	Base, Client, TokenID string
	Address               string
	Purposes              []string

	// The person who granted the request's token: the subject, the resource that
	// describes the person, and the identifier of what was granted. All are empty
	// for a client's own request.
	Subject, User, Grant string

	At          time.Time // to the millisecond
	Interaction string    // name of the interaction; "" also for an Event
	Subtype     string    // its code in AuditEvent.subtype
	Outcome     string    // AuditEvent.outcome: 0, 4, 8 or 12
	Failure     string    // status and issue code, when it failed
	Query       string    // what was asked, of a query, as it came
	Clean       string    // the query without what was not understood; may be empty
	RequestID   string    // the client's own name for the request
	Trace       string    // id of the trace that explains a refusal
	Patients    []string  // ids; one in each record that is made today
	Touched     []Version // what it was about; not of a query
	Shown       bool      // a change's answer had the resource, more than was sent

	// Event describes what is no interaction with FHIR; nil for one that is.
	Event *Event
}

// Version names one version of a resource.
type Version struct {
	Type, ID string
	Version  uint64   // 0 where it is not known
	Labels   []Coding // its security labels
}

// Coding is a FHIR Coding. System and Display may be empty.
type Coding struct{ System, Code, Display string }

// Event is an event other than an interaction with FHIR: a registration, a token
// issued, a person who signs in.
type Event struct {
	Type     Coding   // AuditEvent.type
	Subtypes []Coding // AuditEvent.subtype
	Action   string   // AuditEvent.action: C, R, U, D or E
	Entities []Entity // AuditEvent.entity, after patients and resources
}

// Entity is one AuditEvent.entity.
type Entity struct {
	Type   Coding   // AuditEvent.entity.type
	Role   Coding   // AuditEvent.entity.role; none without a Code
	System string   // of the identifier
	Value  string   // AuditEvent.entity.what.identifier.value; none if empty
	Name   string   // AuditEvent.entity.name; none if empty
	Detail []Detail // AuditEvent.entity.detail
}

// Detail is one AuditEvent.entity.detail.
type Detail struct{ Type, Value string }

const idPrefix = "a"

// ID is the id of the AuditEvent of a record that has that number.
func ID(doc uint64) string {
	return idPrefix + strconv.FormatUint(doc, 10)
}

// Doc gives the number of a record by its AuditEvent's id.
func Doc(id string) (doc uint64, ok bool) {
	text, ok := strings.CutPrefix(id, idPrefix)
	doc, err := strconv.ParseUint(text, 10, 64)
	return doc, ok && err == nil && ID(doc) == id
}

// ErrDamaged is the cause of the error for stored bytes that are no record.
var ErrDamaged = search.ErrDamaged

// actions gives AuditEvent.action and whether the interaction is a query.
var actions = map[string]struct {
	action string
	query  bool
}{
	"create":           {"C", false},
	"read":             {"R", false},
	"vread":            {"R", false},
	"update":           {"U", false},
	"patch":            {"U", false},
	"delete":           {"D", false},
	"search-type":      {"E", true},
	"search-system":    {"E", true},
	"history-instance": {"R", false},
	"history-type":     {"E", true},
	"history-system":   {"E", true},
	"$validate":        {"E", false},
	"$everything":      {"E", false},
	"$match":           {"E", true},
	"$export":          {"R", true},
	"$import":          {"E", false},
	"$disclosures":     {"E", true},
	"$job-status":      {"E", true},
	"$job-cancel":      {"E", true},
	"$job-file":        {"R", true},
	"$sign":            {"E", false},
	"batch":            {"E", false}, // one that is refused as a whole
	"":                 {"E", true},  // a method or path that there is not
}

// IsQuery reports whether the records of an interaction have the query in the place
// of resources.
func IsQuery(interaction string) bool {
	return actions[interaction].query
}

// Action returns AuditEvent.action.
func (rec *Record) Action() string {
	if rec.Event != nil {
		return rec.Event.Action
	}
	return actions[rec.Interaction].action
}

// Discloses reports whether the event passed data on: it was read, found, exported or
// shown after a change, and that was not refused.
func (rec *Record) Discloses() bool {
	if rec.Event != nil || rec.Outcome != "0" || rec.Client == "" {
		return false
	}

	switch rec.Interaction {
	case "", "$job-status", "$job-cancel", "$validate", "$import", "$disclosures", "batch":
		return false
	}
	return rec.Action() == "R" || rec.Action() == "E" || rec.Shown
}

// asks reports whether the record has a query, or the request that was refused.
func (rec *Record) asks() bool {
	return rec.Event == nil && (rec.Query != "" || IsQuery(rec.Interaction))
}
