package fhir

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/tree"
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

// record makes the AuditEvent of an interaction that is done, or failed.
func (s *service) auditRecord(r *request, in *interaction, err error) (Entry, error) {
	now := r.now.UTC().Truncate(time.Millisecond)
	id := newID(now)
	body := s.appendAudit(make([]byte, 0, 2048), r, in, err, id, now)
	root, err := tree.Parse(body)
	if err != nil {
		return Entry{}, fmt.Errorf("fhir: audit record: %w", err)
	}
	return Entry{Type: "AuditEvent", ID: id, Version: 1, Updated: now, Body: body,
		Terms: s.ex.Extract("AuditEvent", root, search.Stamp{ID: id, Updated: now})}, nil
}

const (
	instant   = "2006-01-02T15:04:05.000Z"
	eventType = `"type":{"system":"http://terminology.hl7.org/CodeSystem/audit-event-type","code":"rest","display":"RESTful Operation"}`
	subtypes  = `,"subtype":[{"system":"http://hl7.org/fhir/restful-interaction","code":"`
	dicom     = `{"coding":[{"system":"http://dicom.nema.org/resources/ontology/DCM","code":"`
	objects   = `"type":{"system":"http://terminology.hl7.org/CodeSystem/audit-entity-type","code":"`
	roles     = `"},"role":{"system":"http://terminology.hl7.org/CodeSystem/object-role","code":"`
)

func (s *service) appendAudit(b []byte, r *request, in *interaction, err error, id string, now time.Time) []byte {
	stamp := now.Format(instant)
	act := actions[in.name]
	subtype := in.name
	if strings.HasPrefix(subtype, "$") {
		subtype = "operation"
	} else if in.entries && r.bundleType == "transaction" {
		subtype = "transaction"
	}
	b = append(b, `{"resourceType":"AuditEvent","id":"`+id+`","meta":{"versionId":"1","lastUpdated":"`+stamp+`"},`+eventType+subtypes...)
	b = append(b, subtype+`"}],"action":"`+act.action+`","recorded":"`+stamp+`","outcome":"`...)
	if err == nil {
		b = append(b, `0"`...)
	} else {
		f := asFailure(err)
		code := "4"
		if f.status >= 500 {
			code = "8"
		}
		b = append(b, code+`","outcomeDesc":`...)
		b = appendString(b, fmt.Sprintf("%d %s", f.status, f.issues[0].code))
	}
	b = appendPurposes(b, r.grant.Purposes)
	b = s.appendAgents(b, r, act.action)
	b = append(b, `,"source":{"observer":{"display":`...)
	b = append(appendString(b, s.PublicBase), `}}`...)
	return append(appendEntities(b, r, act.query), '}')
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
		b = append(appendString(append(b, `,"policy":[`...), "urn:ietf:params:oauth:jti:"+r.grant.TokenID), ']')
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
			b = appendString(append(b, `{"what":{"reference":`...), fmt.Sprintf("%s/%s/_history/%d", e.Type, e.ID, e.Version))
			b = append(b, `},`+objects+`2`+roles+`4"}}`...)
		}
	}
	if id := requestID(r.header); id != "" {
		next()
		b = append(b, `{"what":{"identifier":{"value":`...)
		b = append(appendString(b, id), `}},"type":{"system":"https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType","code":"XrequestId"}}`...)
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
