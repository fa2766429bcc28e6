package fhir

import (
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"fhirdest.example/fhir/search"
)

// Record is the content of one AuditEvent. Stores need to keep no more than this, a
// fraction of the AuditEvent's length; the resource is made when somebody reads
// it.
type Record struct {
	// What many records have in common: the server's base URL, and whose
	// request it was.
	Base, Client, TokenID string
	Purposes              []string

	// The person who granted the request's token: the subject, the resource that
	// describes the person, and the identifier of what was granted. All are empty
	// for a client's own request.
	Subject, User, Grant string

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

// Entry makes the record's AuditEvent.
func (rec *Record) Entry(doc uint64) Entry {
	id := RecordID(doc)
	return Entry{
		Doc:     doc,
		Type:    "AuditEvent",
		ID:      id,
		Version: 1,
		Updated: rec.At,
		Terms:   rec.Terms(id),
		Body:    rec.appendAudit(make([]byte, 0, 1536), id),
	}
}

// actions gives AuditEvent.action and whether the interaction is a query.
var actions = map[string]struct {
	action string
	query  bool
}{
	"create": {"C", false}, "read": {"R", false}, "vread": {"R", false}, "update": {"U", false}, "patch": {"U", false},
	"delete": {"D", false}, "search-type": {"E", true}, "search-system": {"E", true}, "history-instance": {"R", false},
	"history-type": {"E", true}, "history-system": {"E", true}, "$validate": {"E", false}, "$everything": {"E", false},
	"$match":  {"E", true},
	"$export": {"R", true}, "$import": {"E", false}, "$job-status": {"E", true}, "$job-cancel": {"E", true},
	"$job-file": {"R", true},
	"batch":     {"E", false}, // one that is refused as a whole
	"":          {"E", true},  // a method or path that there is not
}

// Terms are the AuditEvent's search terms, those that Extract would find in it.
func (rec *Record) Terms(id string) search.Terms {
	b := search.NewBuilder("AuditEvent", search.Stamp{
		ID:      id,
		Updated: rec.At,
	})
	b.Token("type", eventTypeSystem, "rest")
	if rec.Subtype != "" {
		b.Token("subtype", interactionSystem, rec.Subtype)
	}

	b.Code("action", actions[rec.Interaction].action)
	b.Code("outcome", rec.Outcome)
	b.Date("date", rec.At)

	b.Identifier("agent", "", rec.Client)
	b.Present("agent") // the server, by its display
	b.Present("source")
	if rec.TokenID != "" {
		b.URI("policy", tokenPolicy+rec.TokenID)
	}
	if rec.Subject != "" {
		rec.personTerms(b)
	}

	for _, p := range rec.Patients {
		b.Ref("entity", "Patient", p, "")
		b.Ref("patient", "Patient", p, "")
		b.Token("entity-type", objectSystem, "1")
		b.Token("entity-role", roleSystem, "1")
	}

	rec.dataTerms(b)
	if rec.RequestID != "" {
		b.Identifier("entity", "", rec.RequestID)
		b.Token("entity-type", requestSystem, "XrequestId")
	}

	return b.Terms()
}

// personTerms are those of the agent that appendPerson writes.
func (rec *Record) personTerms(b *search.Builder) {
	if typ, id, ok := strings.Cut(rec.User, "/"); ok {
		b.Ref("agent", typ, id, "")
	}
	b.Identifier("agent", rec.Base, rec.Subject)
	b.URI("policy", rec.grantPolicy())
}

func (rec *Record) dataTerms(b *search.Builder) {
	if actions[rec.Interaction].query {
		b.Token("entity-type", objectSystem, "2")
		b.Token("entity-role", roleSystem, "24")
		return
	}

	for _, e := range rec.Touched {
		version := strconv.FormatUint(e.Version, 10)
		b.Ref("entity", e.Type, e.ID, version)
		if e.Type == "Patient" {
			b.Ref("patient", e.Type, e.ID, version)
		}
		b.Token("entity-type", objectSystem, "2")
		b.Token("entity-role", roleSystem, "4")
	}
}

const (
	instant           = "2006-01-02T15:04:05.000Z"
	eventTypeSystem   = "http://terminology.hl7.org/CodeSystem/audit-event-type"
	interactionSystem = "http://hl7.org/fhir/restful-interaction"
	objectSystem      = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
	roleSystem        = "http://terminology.hl7.org/CodeSystem/object-role"
	requestSystem     = "https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType"
	tokenPolicy       = "urn:ietf:params:oauth:jti:"
	grantPolicy       = "urn:uuid:"

	participationSystem = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"

	eventType = `"type":{"system":"` + eventTypeSystem +
		`","code":"rest","display":"RESTful Operation"}`
	subtypes = `,"subtype":[{"system":"` + interactionSystem + `","code":"`
	dicom    = `{"coding":[{"system":"http://dicom.nema.org/resources/ontology/DCM","code":"`
	objects  = `"type":{"system":"` + objectSystem + `","code":"`
	roles    = `"},"role":{"system":"` + roleSystem + `","code":"`
)

func (rec *Record) appendAudit(b []byte, id string) []byte {
	stamp, act := rec.At.Format(instant), actions[rec.Interaction]
	b = append(b,
		`{"resourceType":"AuditEvent","id":"`+id+`","meta":{"versionId":"1","lastUpdated":"`+
			stamp+`"},`+eventType...)
	if rec.Subtype != "" {
		b = append(b, subtypes+rec.Subtype+`"}]`...)
	}
	b = append(b, `,"action":"`+act.action+`","recorded":"`+stamp+`","outcome":"`+rec.Outcome+`"`...)

	if rec.Failure != "" {
		b = appendString(append(b, `,"outcomeDesc":`...), rec.Failure)
	}

	b = appendPurposes(b, rec.Purposes)
	b = rec.appendAgents(b, act.action)
	b = append(b, `,"source":{"observer":{"display":`...)
	b = append(appendString(b, rec.Base), `}}`...)
	return append(rec.appendEntities(b, act.query), '}')
}

// appendPurposes writes purposes of use; the form of UDAP is system#code.
func appendPurposes(b []byte, purposes []string) []byte {
	for i, p := range purposes {
		b = append(b, pick(i == 0, `,"purposeOfEvent":[`, `,`)...)
		system, code, ok := strings.Cut(p, "#")
		if !ok {
			system = ""
			code = p
		}
		b = append(b, `{"coding":[{`...)
		if system != "" {
			b = append(appendString(append(b, `"system":`...), system), ',')
		}

		b = append(appendString(append(b, `"code":`...), code), `}]}`...)
	}

	if len(purposes) > 0 {
		b = append(b, ']')
	}
	return b
}

func pick(first bool, yes, no string) string {
	if first {
		return yes
	}
	return no
}

// appendAgents writes client and server with the roles that IHE's basic audit
// profiles give them: source and destination of what moves.
func (rec *Record) appendAgents(b []byte, action string) []byte {
	client, server := "110153", "110152" // source, destination
	if action == "R" {
		client, server = server, client
	}
	if action == "D" {
		client = "110150" // application
	}
	b = append(b, `,"agent":[{"type":`+dicom+client+`"}]},"who":{"identifier":{"value":`...)
	b = append(appendString(b, rec.Client), `}},"requestor":`+pick(rec.Subject == "", `true`, `false`)...)

	if rec.TokenID != "" {
		b = append(appendString(append(b, `,"policy":[`...), tokenPolicy+rec.TokenID), ']')
	}
	b = append(b, `},{"type":`+dicom+server+`"}]},"who":{"display":`...)
	b = append(appendString(b, rec.Base), `},"requestor":false}`...)
	if rec.Subject != "" {
		b = rec.appendPerson(b)
	}

	return append(b, ']')
}

// appendPerson writes the person who granted the token as the one on whose behalf
// the client asked. The system of the identifier keeps it apart from the clients'.
func (rec *Record) appendPerson(b []byte) []byte {
	b = append(b, `,{"type":{"coding":[{"system":"`+participationSystem+`","code":"IRCP"}]},"who":{`...)
	if rec.User != "" {
		b = append(appendString(append(b, `"reference":`...), rec.User), ',')
	}
	b = appendString(append(b, `"identifier":{"system":`...), rec.Base)
	b = appendString(append(b, `,"value":`...), rec.Subject)
	b = append(b, `}},"requestor":true,"policy":[`...)
	return append(appendString(b, rec.grantPolicy()), `]}`...)
}

// grantPolicy names a grant as AuditEvent.agent.policy, a URI.
func (rec *Record) grantPolicy() string {
	if len(rec.Grant) != 32 {
		return grantPolicy + rec.Grant
	}
	g := rec.Grant
	return grantPolicy + g[:8] + "-" + g[8:12] + "-" + g[12:16] + "-" + g[16:20] + "-" + g[20:]
}

// appendEntities writes what it was about: the patients, the resources (of a
// search, the query in their place), and the client's own name for the
// request.
func (rec *Record) appendEntities(b []byte, query bool) []byte {
	start := len(b)
	next := func() {
		b = append(b, pick(len(b) == start, `,"entity":[`, `,`)...)
	}
	for _, p := range rec.Patients {
		next()
		b = appendString(append(b, `{"what":{"reference":`...), "Patient/"+p)
		b = append(b, `},`+objects+`1`+roles+`1"}}`...)
	}

	if query {
		next()
		b = append(b, `{`+objects+`2`+roles+`24"},"query":"`...)
		b = append(base64.StdEncoding.AppendEncode(b, []byte(rec.Query)), `"}`...)
	} else {
		for _, e := range rec.Touched {
			next()
			b = appendString(append(b, `{"what":{"reference":`...),
				e.Type+"/"+e.ID+"/_history/"+strconv.FormatUint(e.Version, 10))
			b = append(b, `},`+objects+`2`+roles+`4"}}`...)
		}
	}

	if rec.RequestID != "" {
		next()
		b = append(b, `{"what":{"identifier":{"value":`...)
		b = append(appendString(b, rec.RequestID),
			`}},"type":{"system":"`+requestSystem+`","code":"XrequestId"}}`...)
	}

	if len(b) > start {
		b = append(b, ']')
	}
	return b
}
