package fhir

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
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
	commit  sync.Mutex // held while records are stored, so that who waits for it finds them there
	mu      sync.Mutex // guards all below
	pending []Record
	timer   *time.Timer
	broken  error // the last commit failed: nothing is served until one succeeds
}

// errAudit is what a request meets while no record can be kept.
var errAudit = errors.New("fhir: audit records cannot be stored")

// later queues a record for the next commit. It waits when too many are pending.
func (s *Service) auditLater(rec Record) error {
	a := &s.audit
	a.mu.Lock()
	if a.pending == nil {
		a.pending = make([]Record, 0, auditPending)
	}
	a.pending = append(a.pending, rec)
	n := len(a.pending)
	if n == 1 {
		a.timer = time.AfterFunc(auditDelay, func() {
			s.flushAudit()
		})
	}

	a.mu.Unlock()
	if n >= auditPending {
		return s.flushAudit()
	}
	return nil
}

// flushAudit returns when all that was taken so far is stored, or cannot be.
func (s *Service) flushAudit() error {
	a := &s.audit
	a.commit.Lock()
	defer a.commit.Unlock()

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

	err := s.Store.Update(context.Background(), func(c Change) error {
		return c.Append(context.Background(), batch)
	})

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
func (s *Service) auditReady() error {
	s.audit.mu.Lock()
	broken := s.audit.broken
	s.audit.mu.Unlock()
	if broken != nil {
		return s.flushAudit()
	}
	return nil
}

// Close stores the records that wait.
func (s *Service) Close() error { return s.flushAudit() }

// auditRecord returns the record of an interaction that is done, or failed.
func (s *core) auditRecord(r *request, in *interaction, err error) Record {
	rec := Record{
		Base:        s.PublicBase,
		Client:      r.grant.Client,
		TokenID:     r.grant.TokenID,
		Purposes:    r.grant.Purposes,
		Subject:     r.grant.Subject,
		User:        r.grant.User,
		Grant:       r.grant.Grant,
		At:          r.now,
		Interaction: in.name,
		Subtype:     in.name,
		Outcome:     "0",
		RequestID:   requestID(r.header),
		Patients:    r.notes.patients,
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

	if actions[in.name].query {
		rec.Query = r.asked()
	} else {
		rec.Touched = r.notes.touched
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
	if failed := s.auditLater(s.auditRecord(req, in, why)); failed != nil {
		return failed
	}
	return why
}

// maxAsked bounds, in bytes, how much of a body is in the record of a query.
const maxAsked = 4 << 10

// asked is the request as it was made, for the record. That of a match is its body
// (IHE PDQm, ITI-119).
func (r *request) asked() string {
	text := r.method + " " + strings.Join(r.path, "/") + "?" + encodePairs(r.query)
	if r.matching != nil {
		text += "\n\n" + string(r.body[:min(len(r.body), maxAsked)])
	}
	return text
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

// notes gather, while a request is done, what its audit record will hold.
type notes struct {
	query    bool     // of a query's record, which has no touched
	touched  []Entry  // without bodies and terms
	patients []string // ids of patients that these are about
	created  bool     // an update stored a first version
}

// Bounds of one record.
const (
	maxTouched  = 100
	maxPatients = 20
)

func (n *notes) touch(e Entry) {
	if n.query {
		n.about(e)
		return
	}
	if len(n.touched) >= maxTouched {
		return
	}

	n.about(e)
	e.Body = nil
	e.Terms = nil
	n.touched = append(n.touched, e)
}

// about notes the patients that a resource is about.
func (n *notes) about(e Entry) {
	switch e.Type {
	case "AuditEvent": // reading the record of a disclosure discloses it to no one else
	case "Patient":
		n.patient(e.ID)
	default:
		search.Patients(e.Type, e.Terms, func(id []byte) {
			for _, known := range n.patients {
				if known == string(id) {
					return
				}
			}
			n.patient(string(id))
		})
	}
}

func (n *notes) patient(id string) {
	if len(n.patients) < maxPatients && !slices.Contains(n.patients, id) {
		n.patients = append(n.patients, id)
	}
}
