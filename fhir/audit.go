package fhir

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"fhirdest.example/fhir/search"
)

const (
	auditDelay   = 500 * time.Millisecond // how long a read's record may wait for a commit
	auditPending = 4096                   // records that may wait
)

// auditor gathers the records of what changed nothing. They join the next
// shared commit; those of changes are stored with the change.
type auditor struct {
	mu      sync.Mutex
	pending []Entry
	timer   *time.Timer
	broken  error // the last commit failed: nothing is served until one succeeds
}

// errAudit is what a request meets while no record can be kept.
var errAudit = errors.New("fhir: audit records cannot be stored")

// later takes a record for the next commit. It waits when too many wait.
func (s *service) auditLater(e Entry) error {
	a := &s.audit
	a.mu.Lock()
	a.pending = append(a.pending, e)
	n := len(a.pending)
	if n == 1 {
		a.timer = time.AfterFunc(auditDelay, func() { s.flushAudit() })
	}
	a.mu.Unlock()
	if n >= auditPending {
		return s.flushAudit()
	}
	return nil
}

// flushAudit stores what waits.
func (s *service) flushAudit() error {
	a := &s.audit
	a.mu.Lock()
	batch, broken := a.pending, a.broken
	a.pending = nil
	if a.timer != nil {
		a.timer.Stop()
	}
	a.mu.Unlock()
	if len(batch) == 0 {
		return broken
	}
	err := s.putAll(context.Background(), batch)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.broken = nil; err != nil {
		a.broken = errors.Join(errAudit, err)
		a.pending = append(batch[:min(len(batch), auditPending)], a.pending...)
		if s.Failed != nil {
			s.Failed(nil, a.broken)
		}
	}
	return a.broken
}

// ready refuses requests while records cannot be kept.
func (s *service) auditReady() error {
	s.audit.mu.Lock()
	broken := s.audit.broken
	s.audit.mu.Unlock()
	if broken != nil {
		return s.flushAudit()
	}
	return nil
}

// Close stores the records that wait.
func (s *service) Close() error { return s.flushAudit() }

// actions gives AuditEvent.action and whether the interaction is a query.
var actions = map[string]struct {
	action string
	query  bool
}{
	"create": {"C", false}, "read": {"R", false}, "vread": {"R", false}, "update": {"U", false}, "patch": {"U", false},
	"delete": {"D", false}, "search-type": {"E", true}, "search-system": {"E", true}, "history-instance": {"R", false},
	"history-type": {"E", true}, "history-system": {"E", true}, "$validate": {"E", false}, "$everything": {"E", false},
	"batch": {"E", false}, // one that is refused as a whole
}

// auditRecord makes the AuditEvent of an interaction that is done, or failed.
func (s *service) auditRecord(r *request, in *interaction, err error) Entry {
	now := r.now.UTC().Truncate(time.Millisecond)
	rec := record{r: r, in: in, now: now, id: newID(now), outcome: "0", subtype: in.name}
	if err != nil {
		rec.failed, rec.outcome = asFailure(err), "4"
		if rec.failed.status >= 500 {
			rec.outcome = "8"
		}
	}
	if strings.HasPrefix(in.name, "$") {
		rec.subtype = "operation"
	} else if in.entries && r.bundleType == "transaction" {
		rec.subtype = "transaction"
	}
	return Entry{Type: "AuditEvent", ID: rec.id, Version: 1, Updated: now, Body: s.appendAudit(make([]byte, 0, 1536), &rec), Terms: rec.terms()}
}

// record is what one AuditEvent says.
type record struct {
	r                    *request
	in                   *interaction
	id, outcome, subtype string
	now                  time.Time
	failed               *failure
}

// terms are the record's search terms, those that Extract would find in it.
func (rec *record) terms() search.Terms {
	b := search.NewBuilder("AuditEvent", search.Stamp{ID: rec.id, Updated: rec.now})
	b.Token("type", eventTypeSystem, "rest")
	b.Token("subtype", interactionSystem, rec.subtype)
	b.Code("action", actions[rec.in.name].action)
	b.Code("outcome", rec.outcome)
	b.Date("date", rec.now)
	b.Identifier("agent", "", rec.r.grant.Client)
	if rec.r.grant.TokenID != "" {
		b.URI("policy", tokenPolicy+rec.r.grant.TokenID)
	}
	for _, p := range rec.r.notes.patients {
		b.Ref("entity", "Patient", p, "")
		b.Ref("patient", "Patient", p, "")
		b.Token("entity-type", objectSystem, "1")
		b.Token("entity-role", roleSystem, "1")
	}
	rec.dataTerms(b)
	if id := requestID(rec.r.header); id != "" {
		b.Identifier("entity", "", id)
		b.Token("entity-type", requestSystem, "XrequestId")
	}
	return b.Terms()
}

func (rec *record) dataTerms(b *search.Builder) {
	if actions[rec.in.name].query {
		b.Token("entity-type", objectSystem, "2")
		b.Token("entity-role", roleSystem, "24")
		return
	}
	for _, e := range rec.r.notes.touched {
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

	eventType = `"type":{"system":"` + eventTypeSystem + `","code":"rest","display":"RESTful Operation"}`
	subtypes  = `,"subtype":[{"system":"` + interactionSystem + `","code":"`
	dicom     = `{"coding":[{"system":"http://dicom.nema.org/resources/ontology/DCM","code":"`
	objects   = `"type":{"system":"` + objectSystem + `","code":"`
	roles     = `"},"role":{"system":"` + roleSystem + `","code":"`
)

func (s *service) appendAudit(b []byte, rec *record) []byte {
	stamp, act := rec.now.Format(instant), actions[rec.in.name]
	b = append(b, `{"resourceType":"AuditEvent","id":"`+rec.id+`","meta":{"versionId":"1","lastUpdated":"`+stamp+`"},`+eventType+subtypes...)
	b = append(b, rec.subtype+`"}],"action":"`+act.action+`","recorded":"`+stamp+`","outcome":"`+rec.outcome+`"`...)
	if rec.failed != nil {
		b = appendString(append(b, `,"outcomeDesc":`...), fmt.Sprintf("%d %s", rec.failed.status, rec.failed.issues[0].code))
	}
	b = appendPurposes(b, rec.r.grant.Purposes)
	b = s.appendAgents(b, rec.r, act.action)
	b = append(b, `,"source":{"observer":{"display":`...)
	b = append(appendString(b, s.PublicBase), `}}`...)
	return append(appendEntities(b, rec.r, act.query), '}')
}

// appendPurposes writes purposes of use; the form of UDAP is system#code.
func appendPurposes(b []byte, purposes []string) []byte {
	for i, p := range purposes {
		b = append(b, pick(i == 0, `,"purposeOfEvent":[`, `,`)...)
		system, code, ok := strings.Cut(p, "#")
		if !ok {
			system, code = "", p
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
func (s *service) appendAgents(b []byte, r *request, action string) []byte {
	client, server := "110153", "110152" // source, destination
	if action == "R" {
		client, server = server, client
	}
	if action == "D" {
		client = "110150" // application
	}
	b = append(b, `,"agent":[{"type":`+dicom+client+`"}]},"who":{"identifier":{"value":`...)
	b = append(appendString(b, r.grant.Client), `}},"requestor":true`...)
	if r.grant.TokenID != "" {
		b = append(appendString(append(b, `,"policy":[`...), tokenPolicy+r.grant.TokenID), ']')
	}
	b = append(b, `},{"type":`+dicom+server+`"}]},"who":{"display":`...)
	return append(appendString(b, s.PublicBase), `},"requestor":false}]`...)
}

// appendEntities writes what it was about: the patients, the resources (of a
// search, the query in their place), and the client's own name for the
// request.
func appendEntities(b []byte, r *request, query bool) []byte {
	start := len(b)
	next := func() { b = append(b, pick(len(b) == start, `,"entity":[`, `,`)...) }
	for _, p := range r.notes.patients {
		next()
		b = appendString(append(b, `{"what":{"reference":`...), "Patient/"+p)
		b = append(b, `},`+objects+`1`+roles+`1"}}`...)
	}
	if query {
		next()
		b = append(b, `{`+objects+`2`+roles+`24"},"query":"`...)
		b = append(base64.StdEncoding.AppendEncode(b, []byte(r.asked())), `"}`...)
	} else {
		for _, e := range r.notes.touched {
			next()
			b = appendString(append(b, `{"what":{"reference":`...), e.Type+"/"+e.ID+"/_history/"+strconv.FormatUint(e.Version, 10))
			b = append(b, `},`+objects+`2`+roles+`4"}}`...)
		}
	}
	if id := requestID(r.header); id != "" {
		next()
		b = append(b, `{"what":{"identifier":{"value":`...)
		b = append(appendString(b, id), `}},"type":{"system":"`+requestSystem+`","code":"XrequestId"}}`...)
	}
	if len(b) > start {
		b = append(b, ']')
	}
	return b
}

// asked is the request as it was made, for the record.
func (r *request) asked() string {
	return r.method + " " + strings.Join(r.path, "/") + "?" + encodePairs(r.query)
}

// requestID is the client's own name for the request, if it is a plain one.
func requestID(h http.Header) string {
	id := h.Get("X-Request-Id")
	if len(id) > 128 || strings.IndexFunc(id, func(c rune) bool { return c <= ' ' || c > '~' }) >= 0 {
		return ""
	}
	return id
}
