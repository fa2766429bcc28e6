package fhir

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"fhirdest.example/fhir/disclosure"
	"fhirdest.example/fhir/scope"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/trail"
)

// maxAccounted bounds the audit records that one accounting of disclosures reads.
const maxAccounted = 100_000

// accounting is what $disclosures is asked for.
type accounting struct {
	start, end string // dates or instants; empty: no bound
	count      int    // on a page
}

// disclosures answers GET and POST [base]/Patient/id/$disclosures: who got data of the
// patient, when and why, as AuditEvents of IHE's profile Privacy Disclosure at Source.
// It is for clients that may read the audit records of all.
func (s *reader) disclosures(sn Snapshot, r *request) (*response, error) {
	if r.path[0] != "Patient" {
		return nil, fail(http.StatusNotFound, "not-supported", "$disclosures is for Patient only.")
	}
	if err := r.access.MayOneOf("AuditEvent", scope.Read, scope.Search); err != nil {
		return nil, refusedAccess(err)
	}
	if !r.grant.AllRecords {
		return nil, forbidden("Only a client that may read the audit records of all can account for disclosures.")
	}

	at := lookup{path: strings.Join(r.path[:3], "/")}
	pairs, m, err := s.openPage(r, at)
	if err != nil {
		return nil, err
	}
	asked, err := readAccounting(pairs, r.prefers("handling=strict"))
	if err != nil {
		return nil, err
	}

	f := r.access.Restrict(r.ctx, sn, source{sn})
	f.Search = f.Read
	all, err := s.account(r.ctx, sn, f, r.path[1], asked)
	if err != nil {
		return nil, err
	}
	return s.disclosuresPage(r, at, pairs, m, asked, all)
}

func readAccounting(pairs []search.Pair, strict bool) (accounting, error) {
	a := accounting{count: 100}
	err := readParameters(pairs, strict, func(p search.Pair) (known, ok bool) {
		switch p.Name {
		case "start":
			a.start, ok = readInstant(p.Value)
		case "end":
			a.end, ok = readInstant(p.Value)
		case "_count":
			a.count, ok = readCount(p.Value)
			a.count = min(a.count, 500)
		default:
			return false, false
		}
		return true, ok
	})
	return a, err
}

// account gathers the disclosures of a patient's data from the records that f finds.
func (s *core) account(
	ctx context.Context, sn Snapshot, f *search.Finder, patient string, asked accounting,
) ([]*disclosure.Disclosure, error) {
	q := &search.Query{Types: []string{"AuditEvent"}}
	for _, p := range []search.Pair{
		{Name: "patient", Value: "Patient/" + patient},
		{Name: "outcome", Value: "0"},
		{Name: "date", Value: "ge" + asked.start},
		{Name: "date", Value: "le" + asked.end},
	} {
		if p.Name == "date" && len(p.Value) == 2 {
			continue
		}
		c, err := s.queries.Plain("AuditEvent", p.Name, p.Value)
		if err != nil {
			return nil, fail(http.StatusBadRequest, "value", "The value of "+p.Name+" cannot be read.")
		}
		q.Clauses = append(q.Clauses, c)
	}

	found, err := f.Find(q)
	if err != nil {
		return nil, err
	}
	if len(found.Docs) > maxAccounted {
		return nil, fail(http.StatusBadRequest, "too-costly",
			"There are too many records of this time: ask for a shorter one with start and end.")
	}

	var a disclosure.Account
	_, err = sn.Audit().Records(ctx, found.Docs, func(_ uint64, rec *trail.Record) bool {
		a.Add(rec)
		return true
	})
	return a.All(), err
}

// IsTooCostly reports whether an error of Disclosures is that there are too many
// records.
func IsTooCostly(err error) bool {
	var f *failure
	return errors.As(err, &f) && f.issues[0].code == "too-costly"
}

// Disclosures accounts for the disclosures of a patient's data to the operator. start
// and end are dates or instants, and may be empty.
func Disclosures(
	ctx context.Context, s *Service, patient, start, end string,
) (all []*disclosure.Disclosure, err error) {
	if err := s.FlushAudit(); err != nil {
		return nil, err
	}

	everything := func(string) search.Filter { return search.Everything() }
	err = s.Store.View(ctx, func(sn Snapshot) error {
		f := search.NewFinder(ctx, sn, everything, everything)
		all, err = s.account(ctx, sn, f, patient, accounting{
			start: start,
			end:   end,
		})
		return err
	})
	return all, err
}

func (s *reader) disclosuresPage(
	r *request, at lookup, pairs []search.Pair, m mark, asked accounting, all []*disclosure.Disclosure,
) (*response, error) {
	from := 0
	if len(m.position) == 8 {
		from = min(int(binary.BigEndian.Uint64(m.position)), len(all))
	}
	to := min(len(all), from+asked.count)

	b := append([]byte(nil), `{"resourceType":"Bundle","type":"searchset","total":`...)
	b = append(strconv.AppendInt(b, int64(len(all)), 10), `,"link":[`...)
	b = appendLink(b, "self", s.selfURL(at, pairs))
	if to < len(all) {
		b = appendLink(append(b, ','), "next", s.pageURL(r, at, &search.Query{Used: pairs}, mark{
			'a',
			binary.BigEndian.AppendUint64(nil, uint64(to)),
		}))
	}
	b = append(b, ']')

	for i, d := range all[from:to] {
		event, err := d.Event(s.PublicBase, r.path[1])
		if err != nil {
			return nil, err
		}
		if i == 0 {
			b = append(b, `,"entry":[`...)
		} else {
			b = append(b, ',')
		}
		id := fmt.Sprintf("%x", sha256.Sum256(event)) // of a UUID of version 8, RFC 9562
		b = fmt.Appendf(b, `{"fullUrl":"urn:uuid:%s-%s-8%s-8%s-%s","resource":`,
			id[:8], id[8:12], id[13:16], id[17:20], id[20:32])
		b = append(b, event...)
		b = append(b, `,"search":{"mode":"match"}}`...)
	}

	if from < to {
		b = append(b, ']')
	}
	return &response{
		status: http.StatusOK,
		body:   append(b, '}'),
	}, nil
}
