package fhir

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"fhirdest.example/fhir/consent"
	"fhirdest.example/fhir/label"
	"fhirdest.example/fhir/provenance"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/trail"
)

const (
	auditDelay   = 500 * time.Millisecond // how long a read's record may wait for a commit
	auditAge     = time.Second            // how old an unstored record is when reads begin to wait
	auditPending = 4096                   // records that may wait

	// auditPatience is how long Close tries to store records: a store that is back may
	// still count as away for a few seconds.
	auditPatience = 4 * time.Second
)

// auditor gathers the records of what changed nothing. They join the next
// shared commit; those of changes are stored with the change.
type auditor struct {
	commit  sync.Mutex // held while records are stored, so that who waits for it finds them there
	mu      sync.Mutex // guards all below
	pending []trail.Record
	began   time.Time // when the first of them came
	storing time.Time // when the first came of those that are being stored; zero if none are
	timer   *time.Timer
	broken  error // the last commit failed: nothing is served until one succeeds
	closed  bool  // no timer is set any more
}

// late reports whether a record has waited too long, so that a crash would lose more
// than a second of what was answered.
func (a *auditor) late(now time.Time) bool {
	age := now.Sub(cmp.Or(a.storing, a.began))
	return age < 0 || age > auditAge
}

// errAudit is what a request meets while no record can be kept.
var errAudit = errors.New("fhir: audit records cannot be stored")

// auditLater queues records for the next commit. It waits when too many are pending, or
// one is for too long. While none can be stored no more are queued than may wait.
func (s *Service) auditLater(records ...trail.Record) error {
	now := s.Now()
	a := &s.audit
	a.mu.Lock()
	if a.broken != nil && len(a.pending) >= auditPending {
		a.mu.Unlock()
		if err := s.FlushAudit(); err != nil {
			return err
		}
		a.mu.Lock()
	}

	if a.pending == nil {
		a.pending = make([]trail.Record, 0, auditPending)
	}
	first := len(a.pending) == 0
	a.pending = append(a.pending, records...)
	n := len(a.pending)
	if first && n > 0 {
		a.began = now
		a.flushIn(auditDelay, s)
	}

	wait := n >= auditPending || a.late(now)
	a.mu.Unlock()
	if wait {
		return s.FlushAudit()
	}

	return nil
}

// flushIn stores what is pending after a time, unless somebody does before. The caller
// holds the mutex.
func (a *auditor) flushIn(d time.Duration, s *Service) {
	if a.closed {
		return
	}
	a.timer = time.AfterFunc(d, func() {
		s.FlushAudit() // who is served next sees its error
	})
}

// FlushAudit returns when all that was taken so far is stored, or cannot be.
func (s *Service) FlushAudit() error {
	a := &s.audit
	a.commit.Lock()
	defer a.commit.Unlock()

	a.mu.Lock()
	batch, broken := a.pending, a.broken
	a.pending = nil
	if len(batch) > 0 {
		a.storing = a.began
	}
	if a.timer != nil {
		a.timer.Stop()
	}

	a.mu.Unlock()
	if len(batch) == 0 {
		return broken
	}

	err := s.Store.Update(context.Background(), func(c Change) error {
		return c.Append(context.Background(), batch)
	})

	a.mu.Lock()
	defer a.mu.Unlock()
	began := a.storing
	a.storing = time.Time{}
	if a.broken = nil; err != nil {
		a.broken = errors.Join(errAudit, err)
		a.pending = append(batch, a.pending...)
		a.began = began
		a.flushIn(auditAge, s)
		if s.Failed != nil {
			s.Failed(nil, a.broken)
		}
	}

	return a.broken
}

// ready refuses requests while records cannot be kept.
func (s *Service) auditReady() error {
	s.audit.mu.Lock()
	broken := s.audit.broken
	s.audit.mu.Unlock()
	if broken != nil {
		return s.FlushAudit()
	}
	return nil
}

// Audit keeps the record of an event that is no interaction with FHIR. It joins the
// next shared commit, and is in the order in which it came.
func (s *Service) Audit(rec trail.Record) error {
	if err := s.auditReady(); err != nil {
		return err
	}

	if rec.Base == "" {
		rec.Base = s.PublicBase
	}
	if rec.At.IsZero() {
		rec.At = s.Now()
	}
	if rec.Outcome == "" {
		rec.Outcome = "0"
	}

	return s.auditLater(rec)
}

// Close stores the records that wait.
func (s *Service) Close() error {
	s.audit.mu.Lock()
	s.audit.closed = true
	s.audit.mu.Unlock()

	err := s.FlushAudit()
	for end := time.Now().Add(auditPatience); err != nil && time.Now().Before(end); {
		time.Sleep(auditDelay)
		err = s.FlushAudit()
	}
	return err
}

// auditRecords returns the records of an interaction that is done, or failed: one
// for each patient, as IHE's Basic Audit Log Patterns have it.
func (s *core) auditRecords(r *request, in *interaction, err error) []trail.Record {
	rec := trail.Record{
		Base:        s.PublicBase,
		Client:      r.grant.Client,
		TokenID:     r.grant.TokenID,
		Address:     r.address,
		Purposes:    r.purposes(),
		Subject:     r.grant.Subject,
		User:        r.grant.User,
		Grant:       r.grant.Grant,
		At:          r.now,
		Interaction: in.name,
		Subtype:     in.name,
		Outcome:     "0",
		RequestID:   requestID(r.header),
	}

	if err != nil {
		f := asFailure(err)
		rec.Outcome, rec.Failure = "4", fmt.Sprintf("%d %s", f.status, f.issues[0].code)
		if f.status >= 500 {
			rec.Outcome = "8"
		}
	}

	if strings.HasPrefix(in.name, "$") {
		rec.Subtype = "operation"
	} else if in.entries && r.bundleType == "transaction" {
		rec.Subtype = "transaction"
	}

	if err == nil {
		rec.Shown = r.notes.shown
		if r.notes.found {
			rec.Interaction = "read" // nothing was created
		}
	} else {
		rec.Query = asked(r)
		noteAsked(r, in)
	}

	decided := decisions(r, rec)
	if trail.IsQuery(in.name) {
		rec.Query = asked(r)
		rec.Clean = shorten(r.notes.clean)
		return append(ofPatients(rec, r.notes.patients), decided...)
	}

	return append(ofResources(rec, r.notes.touched), decided...)
}

// decisions returns a record for each Consent that denied the request something, or
// that emergency access has passed (IHE BALP 1.1, AuthZconsent).
func decisions(r *request, rec trail.Record) []trail.Record {
	if r.access == nil {
		return nil
	}

	var all []trail.Record
	for _, rule := range r.access.Rules() {
		of, ok := rule.(*consent.Rule)
		if !ok {
			continue
		}
		for _, a := range of.Take() {
			all = append(all, decision(rec, a))
		}
	}

	return all
}

func decision(rec trail.Record, a consent.Answer) trail.Record {
	rec.Interaction = ""
	rec.Subtype = ""
	rec.Outcome = "0"
	rec.Failure = ""
	rec.Patients = []string{a.Patient}
	rec.Event = &trail.Event{
		Type: trail.Coding{
			System:  "http://dicom.nema.org/resources/ontology/DCM",
			Code:    "110113",
			Display: "Security Alert",
		},
		Subtypes: []trail.Coding{{
			System: "https://profiles.ihe.net/ITI/BALP/CodeSystem/AuthZsubType",
			Code:   "AuthZ-Consent",
		}},
		Action: "E",
	}

	if a.Outcome == consent.Deny {
		rec.Outcome = "4"
		rec.Failure = a.Text()
	}
	if a.Consent != "" {
		rec.Touched = []trail.Version{{
			Type:    "Consent",
			ID:      a.Consent,
			Version: a.Version,
		}}
	}

	return rec
}

// refused keeps the record of a request that was refused before it was begun,
// and gives why.
func (s *Service) refused(req *request, why error) error {
	in, err := s.find(req.method, req.path)
	if err != nil {
		in = &interaction{} // there is none
	}
	if failed := s.auditLater(s.auditRecords(req, in, why)...); failed != nil {
		return failed
	}
	return why
}

// noteAsked notes the resource that the path of a refused request names, unless one was
// found. What is not there looks the same as what the client may not see.
func noteAsked(r *request, in *interaction) {
	if trail.IsQuery(in.name) || len(r.notes.touched) > 0 || len(r.path) < 2 ||
		!search.ValidID(r.path[1]) {
		return
	}

	t := touched{
		Version: trail.Version{
			Type: r.path[0],
			ID:   r.path[1],
		},
	}
	if t.Type == "Patient" {
		t.patients = []string{t.ID}
	}

	r.notes.touched = append(r.notes.touched, t)
}

// maxAsked bounds, in bytes, how much of a URL, and of a body, is in the record of a
// query.
const maxAsked = 4 << 10

// asked is the request as it was made, for the record. That of a match, and of a search
// that was posted, has its body (IHE PDQm, ITI-119). Tokens are left out.
func asked(r *request) string {
	text := r.method + " " + strings.Join(r.path, "/") + "?"
	if r.rawQuery != "" || posts(r) {
		text += withoutTokens(r.rawQuery)
	} else {
		text += withoutTokens(encodePairs(r.query)) // of an entry
	}

	text = shorten(text)
	switch {
	case r.matching != nil:
		text += "\n\n" + shorten(string(r.body))
	case posts(r):
		text += "\n\n" + shorten(withoutTokens(string(r.body)))
	}

	return text
}

// withoutTokens returns a query without the values of its access_token parameters (RFC
// 6750, sections 2.2 and 2.3), also those of a query that cannot be parsed.
func withoutTokens(query string) string {
	parts := strings.Split(query, "&")
	for i, part := range parts {
		name, _, _ := strings.Cut(part, "=")
		plain, err := url.QueryUnescape(name)
		if err != nil {
			plain = name
		}
		if strings.Contains(strings.ToLower(plain), "access_token") {
			parts[i] = name + "=REMOVED"
		}
	}

	return strings.Join(parts, "&")
}

// posts reports whether the query is in the body, as a form.
func posts(r *request) bool {
	return len(r.path) > 0 && r.path[len(r.path)-1] == "_search"
}

func shorten(text string) string {
	return text[:min(len(text), maxAsked)]
}

// requestID is the client's own name for the request, if it is a plain one.
func requestID(h http.Header) string {
	id := h.Get("X-Request-Id")
	if len(id) > 128 || strings.IndexFunc(id, func(c rune) bool {
		return c <= ' ' || c > '~'
	}) >= 0 {
		return ""
	}
	return id
}

// notes gather, while a request is done, what its audit records will hold.
type notes struct {
	query    bool            // of a query's records, which have no resources
	clean    string          // a search without what was not understood
	patients []string        // ids of the patients that a query is about
	known    map[string]bool // the same
	touched  []touched       // the resources that anything else is about
	created  bool            // an update stored a first version
	found    bool            // a creation found a resource, and created none
	shown    bool            // a change's answer has what the client may not have known

	changes  []provenance.Change // what was stored
	security label.Security      // of what is shown
}

// touched is a version, and the patients that it is about.
type touched struct {
	trail.Version
	patients []string
}

// Bounds of records. Nothing is left out for them: there are more records, or some
// name several patients.
const (
	maxTouched  = 100 // resources of one record
	maxApart    = 100 // patients of a query or resource who have a record each
	maxTogether = 100 // patients of one record, when there are more
)

// touch notes a version that a request is about.
func (r *request) touch(e Entry) {
	e = withTerms(r, e)
	patients := patientsOf(nil, e)
	n := &r.notes
	if !n.query {
		v := trail.Version{
			Type:    e.Type,
			ID:      e.ID,
			Version: e.Version,
		}

		for _, label := range labelsOf(e) {
			v.Labels = append(v.Labels, trail.Coding{
				System: label.System,
				Code:   label.Code,
			})
		}

		n.touched = append(n.touched, touched{v, patients})
		return
	}

	for _, id := range patients {
		if n.known == nil {
			n.known = map[string]bool{}
		}
		if !n.known[id] {
			n.known[id] = true
			n.patients = append(n.patients, id)
		}
	}
}

// leave notes the version before the one that was touched last: it may have been in
// the record of another patient.
func leave(r *request, old Entry) {
	last := &r.notes.touched[len(r.notes.touched)-1]
	last.patients = patientsOf(last.patients, withTerms(r, old))
}

// withTerms gives an earlier version its search terms, which only current ones have.
func withTerms(r *request, e Entry) Entry {
	if len(e.Terms) > 0 || len(e.Body) == 0 || r.ex == nil || e.Type == "AuditEvent" {
		return e
	}
	if root, err := stored(e); err == nil {
		e.Terms, _ = r.ex.Extract(e.Type, root, search.Stamp{ // of what could be stored
			ID:      e.ID,
			Updated: e.Updated,
		})
	}
	return e
}

// patientsOf adds the patients that a version with terms is about.
func patientsOf(ids []string, e Entry) []string {
	add := func(id string) {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}

	switch e.Type {
	case "AuditEvent": // reading the record of a disclosure discloses it to no one else
	case "Patient":
		add(e.ID)
	default:
		search.Patients(e.Type, e.Terms, func(id []byte) {
			add(string(id))
		})
	}

	return ids
}

// ofPatients returns a record for each patient, and one if there is none.
func ofPatients(rec trail.Record, patients []string) []trail.Record {
	rec.Patients = nil
	if len(patients) == 0 {
		return []trail.Record{rec}
	}

	size := 1
	if len(patients) > maxApart {
		size = maxTogether
	}
	var all []trail.Record

	for some := range slices.Chunk(patients, size) {
		rec.Patients = some
		all = append(all, rec)
	}

	return all
}

// ofResources returns records that have one patient each, and the resources about
// this patient; then one of the resources about none.
func ofResources(rec trail.Record, touched []touched) []trail.Record {
	if len(touched) == 1 && len(touched[0].patients) < 2 { // as most have
		rec.Patients = touched[0].patients
		rec.Touched = []trail.Version{touched[0].Version}
		return []trail.Record{rec}
	}

	var all []trail.Record
	var patients []string
	of := map[string][]trail.Version{}
	add := func(id string, v trail.Version) {
		if of[id] == nil {
			patients = append(patients, id)
		}
		of[id] = append(of[id], v)
	}

	for _, t := range touched {
		switch n := len(t.patients); {
		case n == 0:
			add("", t.Version)
		case n > maxApart:
			rec.Touched = []trail.Version{t.Version}
			all = append(all, ofPatients(rec, t.patients)...)
		default:
			for _, id := range t.patients {
				add(id, t.Version)
			}
		}
	}

	for _, id := range patients {
		rec.Patients = nil
		if id != "" {
			rec.Patients = []string{id}
		}

		for some := range slices.Chunk(of[id], maxTouched) {
			rec.Touched = some
			all = append(all, rec)
		}
	}

	if len(all) == 0 {
		all = append(all, rec)
	}
	return all
}
